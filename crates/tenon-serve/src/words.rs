//! Reasons in plain words.

use crate::decision::Reason;
use crate::route::{FeatureWords, Input};

/// How many reasons a decision names.
pub(crate) const NAMED: usize = 5;

/// The features that moved a decision most, the strongest first.
pub(crate) fn strongest(inputs: &[Input], values: &[f32], phi: &[f64], limit: usize) -> Vec<Reason> {
    let mut order: Vec<usize> = (0..phi.len()).collect();
    order.sort_by(|&a, &b| phi[b].abs().total_cmp(&phi[a].abs()).then(a.cmp(&b)));
    order.retain(|&at| phi[at] != 0.0);
    order.truncate(limit);
    let reason = |at: usize| {
        let (input, value) = (&inputs[at], values[at]);
        let value = (!value.is_nan()).then_some(value);
        let sentence = sentence(&input.name, &input.words, value, phi[at]);
        Reason { feature: input.name.clone(), value, phi: phi[at], sentence }
    };
    order.into_iter().map(reason).collect()
}

fn sentence(name: &str, words: &FeatureWords, value: Option<f32>, phi: f64) -> String {
    let subject = match &words.description {
        Some(description) => format!("{} (`{name}`)", description.trim_end_matches('.')),
        None => format!("`{name}`"),
    };
    let unit = words.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let is = match value {
        Some(value) => format!("is {}{unit}", rounded(value)),
        None => "is not known".to_owned(),
    };
    let moves = if phi > 0.0 { "multiplies" } else { "divides" };
    format!("{subject} {is}, which {moves} the odds by {:.2}", phi.abs().exp())
}

/// Four significant digits are enough for a sentence; the exact value stands beside it.
fn rounded(value: f32) -> String {
    let value = f64::from(value);
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9);
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, words: FeatureWords) -> Input {
        Input { name: name.into(), from: 0, fallback: None, words }
    }

    #[test]
    fn the_strongest_come_first_in_words() {
        let minutes = FeatureWords {
            description: Some("Delay of the aircraft's last arrival.".to_owned()),
            unit: Some("minutes".to_owned()),
        };
        let inputs =
            [input("wind", FeatureWords::default()), input("last_delay", minutes), input("x", FeatureWords::default())];
        let found = strongest(&inputs, &[f32::NAN, 45.04, 1.0], &[-0.2, 1.1, 0.0], 5);
        let sentences: Vec<&str> = found.iter().map(|reason| reason.sentence.as_str()).collect();
        assert_eq!(
            sentences,
            [
                "Delay of the aircraft's last arrival (`last_delay`) is 45.04 minutes, which multiplies the odds by 3.00",
                "`wind` is not known, which divides the odds by 1.22",
            ]
        );
    }

    #[test]
    fn values_are_rounded_for_reading() {
        for (value, expected) in
            [(0.0, "0"), (12345.6, "12346"), (0.000123456, "0.0001235"), (-3.0, "-3"), (10.16, "10.16")]
        {
            assert_eq!(rounded(value), expected);
        }
    }
}
