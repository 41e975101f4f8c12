//! The few special functions that the tests need: the incomplete gamma function carries the chi-squared and the
//! normal tail, and Wichura's rational approximation the normal quantile.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Natural logarithm of the gamma function for `x > 0`.
///
/// Stirling's series at `x + shift`, brought back by the recurrence; eight terms at 10 or above leave an error
/// below one unit in the last place.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const STIRLING: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
        -3617.0 / 122_400.0,
    ];
    let (mut z, mut product) = (x, 1.0);
    while z < 10.0 {
        product *= z;
        z += 1.0;
    }
    let inverse_square = 1.0 / (z * z);
    let series = STIRLING.iter().rev().fold(0.0, |sum, term| sum * inverse_square + term) / z;
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * PI).ln() + series - product.ln()
}

/// Regularised incomplete gamma functions `(P(a, x), Q(a, x))` for `a > 0`, `x >= 0`.
///
/// The smaller of the two is computed directly, so that tail probabilities keep their relative accuracy:
/// the power series for `P` below `a + 1`, Legendre's continued fraction for `Q` above.
pub(crate) fn gamma_p_q(a: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    // Near x = a both expansions need a few times sqrt(a) terms.
    let max_terms = 500 + (20.0 * a.sqrt()) as usize;
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..max_terms {
            term *= x / (a + n as f64);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        let p = (scale * sum).min(1.0);
        (p, 1.0 - p)
    } else {
        // Lentz's evaluation of 1/(x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...))).
        const TINY: f64 = 1e-300;
        let mut b = x + 1.0 - a;
        let mut c = 1.0 / TINY;
        let mut d = 1.0 / b;
        let mut h = d;
        for n in 1..max_terms {
            let n = n as f64;
            let numerator = -n * (n - a);
            b += 2.0;
            d = numerator * d + b;
            c = b + numerator / c;
            d = 1.0 / if d.abs() < TINY { TINY } else { d };
            c = if c.abs() < TINY { TINY } else { c };
            h *= d * c;
            if (d * c - 1.0).abs() < 1e-16 {
                break;
            }
        }
        let q = (scale * h).min(1.0);
        (1.0 - q, q)
    }
}

/// Probability that a chi-squared variable with `dof` degrees of freedom exceeds `x`; 1 without any freedom.
pub(crate) fn chi2_sf(x: f64, dof: usize) -> f64 {
    if dof == 0 || x <= 0.0 { 1.0 } else { gamma_p_q(dof as f64 / 2.0, x / 2.0).1 }
}

/// Probability that a standard normal variable exceeds `z`, to full relative accuracy in the far tail.
pub(crate) fn normal_sf(z: f64) -> f64 {
    let half_square = (z * FRAC_1_SQRT_2).powi(2);
    let (p, q) = gamma_p_q(0.5, half_square);
    if z >= 0.0 { 0.5 * q } else { 0.5 + 0.5 * p }
}

/// Algorithm AS 241 (Wichura 1988), PPND16: about 16 digits for `0 < p < 1`.
#[expect(clippy::excessive_precision, reason = "the constants as they were published")]
pub(crate) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 8] = [
        3.3871328727963666080e0,
        1.3314166789178437745e2,
        1.9715909503065514427e3,
        1.3731693765509461125e4,
        4.5921953931549871457e4,
        6.7265770927008700853e4,
        3.3430575583588128105e4,
        2.5090809287301226727e3,
    ];
    const B: [f64; 8] = [
        1.0,
        4.2313330701600911252e1,
        6.8718700749205790830e2,
        5.3941960214247511077e3,
        2.1213794301586595867e4,
        3.9307895800092710610e4,
        2.8729085735721942674e4,
        5.2264952788528545610e3,
    ];
    const C: [f64; 8] = [
        1.42343711074968357734e0,
        4.63033784615654529590e0,
        5.76949722146069140550e0,
        3.64784832476320460504e0,
        1.27045825245236838258e0,
        2.41780725177450611770e-1,
        2.27238449892691845833e-2,
        7.74545014278341407640e-4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.05319162663775882187e0,
        1.67638483018380384940e0,
        6.89767334985100004550e-1,
        1.48103976427480074590e-1,
        1.51986665636164571966e-2,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ];
    const E: [f64; 8] = [
        6.65790464350110377720e0,
        5.46378491116411436990e0,
        1.78482653991729133580e0,
        2.96560571828504891230e-1,
        2.65321895265761230930e-2,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        5.99832206555887937690e-1,
        1.36929880922735805310e-1,
        1.48753612908506148525e-2,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ];
    let ratio = |top: &[f64; 8], bottom: &[f64; 8], r: f64| {
        let polynomial = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, term| sum * r + term);
        polynomial(top) / polynomial(bottom)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&A, &B, 0.180625 - q * q);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let z = if r <= 5.0 { ratio(&C, &D, r - 1.6) } else { ratio(&E, &F, r - 5.0) };
    z.copysign(q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64, relative: f64) {
        assert!((found - expected).abs() <= relative * expected.abs(), "{found:e} is not {expected:e}");
    }

    // scipy 1.17.1: special.gammaln(x)
    #[test]
    fn ln_gamma_agrees_with_scipy() {
        near(ln_gamma(0.5), 0.5723649429247, 1e-14);
        near(ln_gamma(3.25), 0.9358019311087253, 1e-14);
        near(ln_gamma(1234.5), 7550.550901077894, 1e-14);
    }

    // scipy 1.17.1: special.gammainc(a, x), special.gammaincc(a, x)
    #[test]
    fn incomplete_gamma_agrees_with_scipy() {
        for (a, x, p, q) in [
            (0.5, 0.2, 0.47291074313446196, 0.5270892568655381),
            (3.0, 9.5, 0.9958363669624967, 0.0041636330375033484),
            (5000.0, 4900.0, 0.07794495622651393, 0.922055043773486),
            (5000.0, 5200.0, 0.9974151865046462, 0.0025848134953538114),
            (1e6, 1.001e6, 0.8413447863683402, 0.15865521363165971),
        ] {
            let (found_p, found_q) = gamma_p_q(a, x);
            near(found_p, p, 1e-8);
            near(found_q, q, 1e-8);
        }
        assert_eq!(gamma_p_q(2.0, 0.0), (0.0, 1.0));
    }

    // scipy 1.17.1: stats.chi2.sf(x, dof)
    #[test]
    fn chi2_tail_agrees_with_scipy() {
        near(chi2_sf(3.84, 1), 0.05004352124870519, 1e-13);
        near(chi2_sf(50.0, 10), 2.669083424904495e-7, 1e-13);
        near(chi2_sf(900.0, 1000), 0.9892827619087102, 1e-11);
        assert_eq!(chi2_sf(1.0, 0), 1.0);
    }

    // scipy 1.17.1: stats.norm.sf(z)
    #[test]
    fn normal_tail_agrees_with_scipy() {
        for (z, expected) in [
            (-3.0, 0.9986501019683699),
            (0.0, 0.5),
            (0.3, 0.3820885778110474),
            (1.96, 0.024997895148220435),
            (6.0, 9.865876450376946e-10),
            (12.0, 1.776482112077653e-33),
        ] {
            near(normal_sf(z), expected, 1e-13);
        }
    }

    // scipy 1.17.1: stats.norm.ppf(p)
    #[test]
    fn normal_quantile_agrees_with_scipy() {
        for (p, expected) in [
            (0.5, 0.0),
            (0.6, 0.2533471031357997),
            (0.975, 1.959963984540054),
            (0.01, -2.3263478740408408),
            (1e-9, -5.9978070150076865),
            (1e-20, -9.262340089798409),
            (0.999999999999, 7.0344869100478356),
        ] {
            near(normal_quantile(p), expected, 1e-14);
        }
    }
}
