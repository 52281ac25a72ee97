//! Which method trains, and which settings only one of the methods uses.

use serde::{Deserialize, Serialize};
use serde_json::to_value;

use super::MethodConfig;
use crate::error::{Error, Result};

/// The methods that the settings can choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    /// DenseCL (Wang et al. 2021); with λ = 0 MoCo v2.
    #[default]
    DenseCl,
    /// BYOL (Grill et al. 2020).
    Byol,
    /// UniVIP (Li et al. 2022).
    UniVip,
}

impl MethodName {
    /// Whether the method has queues of negatives.
    pub fn has_queues(self) -> bool {
        self == Self::DenseCl
    }

    /// Whether the method projects and predicts as BYOL does: through heads with batch normalisation.
    pub fn predicts(self) -> bool {
        matches!(self, Self::Byol | Self::UniVip)
    }

    /// Whether the method compares instances, views of boxes in an image.
    pub fn has_instances(self) -> bool {
        self == Self::UniVip
    }
}

/// Settings of `[method]` that only DenseCL uses.
const OF_DENSECL: [&str; 10] = [
    "lambda",
    "lambda_warmup_steps",
    "temperature",
    "queue",
    "queue_exceeds_data",
    "matching",
    "in_view_weight",
    "in_view_temperature",
    "in_view_positives",
    "shuffle_keys",
];

/// Those that only BYOL and UniVIP use.
const OF_BYOL: [&str; 2] = ["projector_hidden", "projector_dim"];

/// Those that only UniVIP uses.
const OF_UNIVIP: [&str; 4] = [
    "instances",
    "instance_size",
    "transport_epsilon",
    "transport_iterations",
];

impl MethodConfig {
    /// Checks that every setting which the method does not use is at its default: it would have no effect, and
    /// whoever set it expects one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that is not.
    pub(super) fn ensure_used(&self) -> Result<()> {
        let groups: [(bool, &[&str]); 3] = [
            (self.name == MethodName::DenseCl, &OF_DENSECL),
            (self.name.predicts(), &OF_BYOL),
            (self.name.has_instances(), &OF_UNIVIP),
        ];
        let unused = groups.into_iter().filter(|(used, _)| !used);
        let mut unused = unused.flat_map(|(_, keys)| keys);
        let json = |config: &Self| to_value(config).expect("plain settings have a JSON form");
        let (is, default) = (json(self), json(&Self::default()));
        match unused.find(|key| is[**key] != default[**key]) {
            None => Ok(()),
            Some(key) => Err(Error::config(
                &format!("method.{key}"),
                &is[*key],
                format!(
                    "has no effect with method.name = {}: leave it out, or set it to its default {}",
                    is["name"], default[*key]
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_the_other_method_is_refused_by_name() {
        let byol = MethodConfig {
            name: MethodName::Byol,
            ..MethodConfig::default()
        };
        assert_eq!(byol.validate(), Ok(()));
        let refused = |config: MethodConfig| config.validate().expect_err("no effect").to_string();
        let in_view = refused(MethodConfig {
            in_view_weight: 4.0,
            ..byol
        });
        let expected = "method.in_view_weight = 4.0: has no effect with method.name = \"byol\": leave it out, or set \
                        it to its default 0.0";
        assert_eq!(in_view, expected);
        let instances = refused(MethodConfig {
            name: MethodName::Byol,
            instances: 2,
            ..MethodConfig::default()
        });
        assert!(instances.starts_with("method.instances = 2: has no effect"));
        let univip = MethodConfig {
            name: MethodName::UniVip,
            instances: 2,
            projector_dim: 8,
            ..MethodConfig::default()
        };
        assert_eq!(univip.validate(), Ok(()));
        let hidden = refused(MethodConfig {
            projector_hidden: 512,
            ..MethodConfig::default()
        });
        assert!(hidden.starts_with("method.projector_hidden = 512: has no effect"));
    }

    #[test]
    fn every_setting_that_is_listed_exists() {
        let all = to_value(MethodConfig::default()).expect("JSON");
        for key in OF_DENSECL.iter().chain(&OF_BYOL).chain(&OF_UNIVIP) {
            assert!(all.get(key).is_some(), "there is no method.{key}");
        }
    }
}
