//! The settings of the augmentation, MoCo v2's by default.

use serde::{Deserialize, Serialize};

use super::blur::MAX_SIGMA;
use super::curriculum::Curriculum;
use super::instances::InstanceConfig;

/// The distribution of the random views. The default is the augmentation of MoCo v2, which DenseCL keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewConfig {
    /// Side of a view in pixels.
    pub size: u32,
    /// Range of the crop's area as a share of the source's.
    pub scale: [f64; 2],
    /// Range of the crop's width divided by its height; drawn log-uniformly.
    pub ratio: [f64; 2],
    /// Brightness factors lie in [max(0, 1 − brightness), 1 + brightness].
    pub brightness: f64,
    /// Contrast factors lie in [max(0, 1 − contrast), 1 + contrast].
    pub contrast: f64,
    /// Saturation factors lie in [max(0, 1 − saturation), 1 + saturation].
    pub saturation: f64,
    /// The hue is turned by a fraction of the colour circle in [−hue, hue]; `hue` is at most 0.5.
    pub hue: f64,
    /// Probability of the colour jitter (brightness, contrast, saturation and hue in random order).
    pub jitter_p: f64,
    /// Probability of a grayscale view.
    pub grayscale_p: f64,
    /// Range of the blur's standard deviation in pixels of the view.
    pub blur_sigma: [f64; 2],
    /// Probability of the blur.
    pub blur_p: f64,
    /// Probability of solarising: every value of at least 128 is inverted (BYOL).
    pub solarize_p: f64,
    /// Probability of the left-right flip.
    pub flip_p: f64,
    /// What is different in the second view of an image.
    pub second: SecondView,
    /// Whether the views go from whole scenes to small objects over the run.
    pub curriculum: Curriculum,
    /// Which boxes are instances; only methods with instances use it.
    pub instances: InstanceConfig,
}

/// Settings of the second view that differ from those of the others: BYOL's views are not made alike. What is
/// not given is as in the other views.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecondView {
    /// Probability of the blur.
    pub blur_p: Option<f64>,
    /// Probability of solarising.
    pub solarize_p: Option<f64>,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            size: 224,
            scale: [0.2, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            jitter_p: 0.8,
            grayscale_p: 0.2,
            blur_sigma: [0.1, 2.0],
            blur_p: 0.5,
            solarize_p: 0.0,
            flip_p: 0.5,
            second: SecondView::default(),
            curriculum: Curriculum::default(),
            instances: InstanceConfig::default(),
        }
    }
}

/// The largest side of a view in pixels. It catches typing errors; the method has no such limit.
const MAX_SIZE: u32 = 4096;
/// The most elongated crop, as width divided by height or its inverse.
const MAX_RATIO: f64 = 100.0;
/// The largest strength of brightness, contrast and saturation.
const MAX_JITTER: f64 = 10.0;

impl ViewConfig {
    /// The settings of view `number` of an image, counted from 0.
    pub fn of_view(&self, number: usize) -> Self {
        let mut config = self.clone();
        if number == 1 {
            let SecondView { blur_p, solarize_p } = self.second;
            config.blur_p = blur_p.unwrap_or(self.blur_p);
            config.solarize_p = solarize_p.unwrap_or(self.solarize_p);
        }
        config
    }

    /// Checks every value.
    ///
    /// # Errors
    /// One line that names the first bad key, its value and the permitted range.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=MAX_SIZE).contains(&self.size) {
            return Err(format!(
                "size = {}: must lie between 1 and {MAX_SIZE}",
                self.size
            ));
        }
        // A scale of 0 is refused, because a crop has at least one pixel.
        range(
            "scale",
            self.scale,
            f64::MIN_POSITIVE,
            1.0,
            "above 0 and at most 1",
        )?;
        let ratios = format!("between {} and {MAX_RATIO}", 1.0 / MAX_RATIO);
        range("ratio", self.ratio, 1.0 / MAX_RATIO, MAX_RATIO, &ratios)?;
        let sigmas = format!("between 0 and {MAX_SIGMA}");
        range("blur_sigma", self.blur_sigma, 0.0, MAX_SIGMA, &sigmas)?;
        number("brightness", self.brightness, MAX_JITTER)?;
        number("contrast", self.contrast, MAX_JITTER)?;
        number("saturation", self.saturation, MAX_JITTER)?;
        number("hue", self.hue, 0.5)?;
        number("jitter_p", self.jitter_p, 1.0)?;
        number("grayscale_p", self.grayscale_p, 1.0)?;
        number("blur_p", self.blur_p, 1.0)?;
        number("solarize_p", self.solarize_p, 1.0)?;
        number("flip_p", self.flip_p, 1.0)?;
        number("second.blur_p", self.second.blur_p.unwrap_or(0.0), 1.0)?;
        let solarize_p = self.second.solarize_p.unwrap_or(0.0);
        number("second.solarize_p", solarize_p, 1.0)?;
        self.curriculum.validate()?;
        self.instances.validate()?;
        let sizes = self.curriculum.sizes(self.size);
        if sizes.iter().any(|size| *size > MAX_SIZE) {
            return Err(format!(
                "curriculum.size = {}: must lie between 32 and {MAX_SIZE}, or be 0",
                self.curriculum.size
            ));
        }
        Ok(())
    }
}

/// Checks that a value lies between 0 and `high`; NaN is refused.
fn number(key: &str, value: f64, high: f64) -> Result<(), String> {
    if !(0.0..=high).contains(&value) {
        return Err(format!("{key} = {value}: must lie between 0 and {high}"));
    }
    Ok(())
}

/// Checks that both ends of a range lie between `low` and `high`, the smaller one first. The message uses
/// `permitted` as the wording of these limits.
fn range(key: &str, pair: [f64; 2], low: f64, high: f64, permitted: &str) -> Result<(), String> {
    let [first, last] = pair;
    if !(low <= first && first <= last && last <= high) {
        return Err(format!(
            "{key} = [{first}, {last}]: both must lie {permitted}, the smaller one first"
        ));
    }
    Ok(())
}
