//! Units that are known by name, and how a number in one becomes a number in another.

/// A change of unit: `(x + before) * by / over + after`. Dividing last keeps whole numbers whole where they can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    /// Added to the source's number first.
    pub before: f64,
    /// What it is multiplied by.
    pub by: f64,
    /// What it is divided by.
    pub over: f64,
    /// Added at the end.
    pub after: f64,
}

impl Conversion {
    /// The number in the other unit.
    pub fn apply(self, number: f64) -> f64 {
        (number + self.before) * self.by / self.over + self.after
    }
}

/// Names of a unit; its dimension's base is `(x + offset) * by / over` of it.
struct Unit {
    names: &'static [&'static str],
    dimension: &'static str,
    by: f64,
    over: f64,
    offset: f64,
}

const fn unit(dimension: &'static str, by: f64, over: f64, names: &'static [&'static str]) -> Unit {
    Unit { names, dimension, by, over, offset: 0.0 }
}

const UNITS: &[Unit] = &[
    unit("time", 1.0, 1e9, &["ns", "nanosecond", "nanoseconds"]),
    unit("time", 1.0, 1e6, &["us", "µs", "microsecond", "microseconds"]),
    unit("time", 1.0, 1e3, &["ms", "millisecond", "milliseconds"]),
    unit("time", 1.0, 1.0, &["s", "sec", "second", "seconds"]),
    unit("time", 60.0, 1.0, &["min", "minute", "minutes"]),
    unit("time", 3_600.0, 1.0, &["h", "hour", "hours"]),
    unit("time", 86_400.0, 1.0, &["d", "day", "days"]),
    unit("time", 604_800.0, 1.0, &["week", "weeks"]),
    unit("length", 1.0, 1e3, &["mm", "millimetre", "millimetres", "millimeters"]),
    unit("length", 1.0, 100.0, &["cm", "centimetre", "centimetres", "centimeters"]),
    unit("length", 1.0, 1.0, &["m", "metre", "metres", "meter", "meters"]),
    unit("length", 1e3, 1.0, &["km", "kilometre", "kilometres", "kilometers"]),
    unit("length", 254.0, 1e4, &["in", "inch", "inches"]),
    unit("length", 3_048.0, 1e4, &["ft", "foot", "feet"]),
    unit("length", 9_144.0, 1e4, &["yd", "yard", "yards"]),
    unit("length", 1_609_344.0, 1e3, &["mi", "mile", "miles"]),
    unit("length", 1_852.0, 1.0, &["nmi", "nautical_mile", "nautical_miles"]),
    unit("mass", 1.0, 1e3, &["g", "gram", "grams"]),
    unit("mass", 1.0, 1.0, &["kg", "kilogram", "kilograms"]),
    unit("mass", 1e3, 1.0, &["t", "tonne", "tonnes"]),
    unit("mass", 45_359_237.0, 1e8, &["lb", "lbs", "pound", "pounds"]),
    unit("mass", 45_359_237.0, 16e8, &["oz", "ounce", "ounces"]),
    unit("temperature", 1.0, 1.0, &["K", "kelvin"]),
    Unit { names: &["C", "°C", "celsius"], dimension: "temperature", by: 1.0, over: 1.0, offset: 273.15 },
    Unit { names: &["F", "°F", "fahrenheit"], dimension: "temperature", by: 5.0, over: 9.0, offset: 459.67 },
    unit("speed", 1.0, 1.0, &["m/s"]),
    unit("speed", 1e3, 3_600.0, &["km/h", "kph", "kmh"]),
    unit("speed", 1_609_344.0, 3_600e3, &["mph"]),
    unit("speed", 1_852.0, 3_600.0, &["kn", "kt", "knot", "knots"]),
    unit("volume", 1.0, 1e3, &["ml", "millilitre", "millilitres", "milliliters"]),
    unit("volume", 1.0, 1.0, &["l", "litre", "litres", "liter", "liters"]),
    unit("volume", 3_785_411_784.0, 1e9, &["gal", "gallon", "gallons"]),
    unit("energy", 1.0, 1.0, &["J", "joule", "joules"]),
    unit("energy", 1e3, 1.0, &["kJ"]),
    unit("energy", 3_600.0, 1.0, &["Wh"]),
    unit("energy", 3_600e3, 1.0, &["kWh"]),
    unit("pressure", 1.0, 1.0, &["Pa", "pascal"]),
    unit("pressure", 100.0, 1.0, &["hPa", "mbar", "millibar", "millibars"]),
    unit("pressure", 1e3, 1.0, &["kPa"]),
    unit("pressure", 1e5, 1.0, &["bar"]),
    unit("ratio", 1.0, 1.0, &["fraction", "ratio"]),
    unit("ratio", 1.0, 100.0, &["%", "percent"]),
    unit("ratio", 1.0, 1e3, &["permille"]),
    unit("ratio", 1.0, 1e4, &["bp", "basis_points"]),
    unit("data", 1.0, 1.0, &["B", "byte", "bytes"]),
    unit("data", 1e3, 1.0, &["kB", "kilobytes"]),
    unit("data", 1e6, 1.0, &["MB", "megabytes"]),
    unit("data", 1e9, 1.0, &["GB", "gigabytes"]),
    unit("data", 1_024.0, 1.0, &["KiB"]),
    unit("data", 1_048_576.0, 1.0, &["MiB"]),
    unit("data", 1_073_741_824.0, 1.0, &["GiB"]),
];

/// How a number in one known unit becomes one in another of the same dimension.
pub fn conversion(from: &str, to: &str) -> Option<Conversion> {
    let known = |name: &str| UNITS.iter().find(|unit| unit.names.contains(&name));
    let (from, to) = (known(from)?, known(to)?);
    (from.dimension == to.dimension).then(|| Conversion {
        before: from.offset,
        by: from.by * to.over,
        over: from.over * to.by,
        after: -to.offset,
    })
}

/// Every name of a known unit.
pub fn names() -> impl Iterator<Item = &'static str> {
    UNITS.iter().flat_map(|unit| unit.names.iter().copied())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_become_what_tables_of_units_say() {
        // NIST SP 811, appendix B.
        let cases = [
            ("seconds", "minutes", 180.0, 3.0),
            ("hours", "minutes", 1.5, 90.0),
            ("miles", "km", 1.0, 1.609_344),
            ("feet", "m", 1_000.0, 304.8),
            ("lb", "kg", 1.0, 0.453_592_37),
            ("fahrenheit", "celsius", 212.0, 100.0),
            ("celsius", "kelvin", 20.0, 293.15),
            ("knots", "km/h", 1.0, 1.852),
            ("percent", "fraction", 5.0, 0.05),
            ("GiB", "bytes", 1.0, 1_073_741_824.0),
        ];
        for (from, to, number, expected) in cases {
            let told = conversion(from, to).unwrap().apply(number);
            assert!((told - expected).abs() <= 1e-9 * expected.abs(), "{number} {from} are {told} {to}");
        }
        assert_eq!(conversion("seconds", "miles"), None);
        assert_eq!(conversion("fortnights", "seconds"), None);
    }

    #[test]
    fn no_name_means_two_units() {
        let mut all: Vec<&str> = names().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
