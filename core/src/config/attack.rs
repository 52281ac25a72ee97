//! The settings of an attack on pixels ([`crate::attack`]), and fractions in settings.

use std::{fmt, str::FromStr};

use serde::{Deserializer, Serialize, de};

use crate::error::{Error, Result};

/// The most iterations. It catches typing errors.
const MAX_STEPS: usize = 10_000;

/// The settings of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Attack {
    /// ε: the largest change of a value, as a part of the range of pixels, above 0 and at most 1.
    pub epsilon: f64,
    /// α: the change in one iteration, above 0 and at most ε.
    pub step: f64,
    /// Iterations, at least 1.
    pub steps: usize,
}

impl Attack {
    /// Checks the range of each setting, whose names are `keys`: those of ε, α and the iterations.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that is out of range.
    pub fn validate(&self, [epsilon, step, steps]: [&str; 3]) -> Result<()> {
        Error::ensure(
            epsilon,
            self.epsilon,
            self.epsilon > 0.0 && self.epsilon <= 1.0,
            "above 0 and at most 1: a part of the range of pixels, such as 8/255",
        )?;
        if !(self.step > 0.0 && self.step <= self.epsilon) {
            return Err(Error::config(
                step,
                self.step,
                format!(
                    "must be above 0 and at most {epsilon} = {}, beyond which a single step leaves the range",
                    self.epsilon
                ),
            ));
        }
        Error::ensure(
            steps,
            self.steps,
            (1..=MAX_STEPS).contains(&self.steps),
            "1 to 10,000 iterations",
        )
    }
}

/// A part of a whole that may be written as a fraction, such as `8/255` or `0.03`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction(pub f64);

impl FromStr for Fraction {
    type Err = String;

    /// # Errors
    /// What a fraction looks like.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let value = match text.split_once('/') {
            None => number(text),
            Some((above, below)) => number(above)
                .zip(number(below))
                .filter(|(_, below)| *below != 0.0)
                .map(|(above, below)| above / below),
        };
        let finite = value.filter(|value| value.is_finite());
        finite
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a number, nor a fraction such as 8/255"))
    }
}

impl fmt::Display for Fraction {
    /// In 255ths where it is a whole number of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.0 * 255.0;
        if levels.abs() >= 0.5 && (levels - levels.round()).abs() < 1e-6 {
            write!(f, "{}/255", levels.round())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Reads a number, or a [`Fraction`] as text.
///
/// # Errors
/// For anything else.
pub(crate) fn fraction<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<f64, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a number, or a fraction such as \"8/255\"")
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<f64, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<f64, E> {
            text.parse().map(|Fraction(value)| value).map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    const ATTACK: Attack = Attack {
        epsilon: 8.0 / 255.0,
        step: 2.0 / 255.0,
        steps: 5,
    };

    #[test]
    fn what_is_out_of_range_is_named_with_what_is_permitted() {
        let keys = ["epsilon", "step", "steps"];
        assert_eq!(ATTACK.validate(keys), Ok(()));
        let whole = Attack {
            epsilon: 1.0,
            step: 1.0,
            steps: 1,
        };
        assert_eq!(whole.validate(keys), Ok(()));
        for (attack, expected) in [
            (
                Attack {
                    epsilon: 0.0,
                    ..ATTACK
                },
                "epsilon = 0: must be above 0",
            ),
            (
                Attack {
                    epsilon: 1.5,
                    ..ATTACK
                },
                "epsilon = 1.5: must be above 0 and at most 1",
            ),
            (
                Attack {
                    epsilon: f64::NAN,
                    ..ATTACK
                },
                "epsilon = NaN",
            ),
            (
                Attack {
                    step: 0.5,
                    ..ATTACK
                },
                "step = 0.5: must be above 0 and at most epsilon",
            ),
            (
                Attack {
                    step: 0.0,
                    ..ATTACK
                },
                "step = 0: must be above 0",
            ),
            (
                Attack { steps: 0, ..ATTACK },
                "steps = 0: must be 1 to 10,000",
            ),
        ] {
            let message = attack.validate(keys).expect_err("refused").to_string();
            assert!(message.starts_with(expected), "{message}");
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn fractions_are_numbers_or_have_a_bar() {
        let parse = |text: &str| text.parse::<Fraction>().map(|Fraction(value)| value);
        assert_eq!(parse("8/255"), Ok(8.0 / 255.0));
        assert_eq!(parse(" 1 / 4 "), Ok(0.25));
        assert_eq!(parse("0.03"), Ok(0.03));
        for wrong in ["", "eight", "8/0", "1/2/3", "inf", "/255"] {
            let message = parse(wrong).expect_err("refused");
            assert!(message.contains("8/255"), "{message}");
        }
        assert_eq!(Fraction(8.0 / 255.0).to_string(), "8/255");
        assert_eq!(Fraction(0.03).to_string(), "0.03");
        assert_eq!(Fraction(0.0).to_string(), "0");

        #[derive(Deserialize)]
        struct Settings {
            #[serde(deserialize_with = "fraction")]
            epsilon: f64,
        }
        let read = |text: &str| {
            let settings = serde_json::from_str::<Settings>(text);
            settings.map(|settings| settings.epsilon)
        };
        assert_eq!(read(r#"{"epsilon":"8/255"}"#).ok(), Some(8.0 / 255.0));
        assert_eq!(read(r#"{"epsilon":1}"#).ok(), Some(1.0));
        assert_eq!(read(r#"{"epsilon":0.5}"#).ok(), Some(0.5));
        let message = read(r#"{"epsilon":true}"#)
            .expect_err("refused")
            .to_string();
        assert!(message.contains("a fraction such as"), "{message}");
    }
}
