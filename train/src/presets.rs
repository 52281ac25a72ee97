//! The settings that come with the library.

/// The title of a preset: the first sentence of its header comment, without a part in brackets.
pub fn title(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("# "));
    let paragraph = lines.collect::<Vec<_>>().join(" ");
    let end = [". ", " ("]
        .iter()
        .filter_map(|stop| paragraph.find(stop))
        .min();
    let title = &paragraph[..end.unwrap_or(paragraph.len())];
    title.trim_end_matches('.').to_string()
}

/// The settings that come with the library: name and text.
pub const PRESETS: [(&str, &str); 13] = [
    ("quickstart", include_str!("../../configs/quickstart.toml")),
    ("tab", include_str!("../../configs/tab.toml")),
    (
        "densecl_r50_imagenet_200ep",
        include_str!("../../configs/densecl_r50_imagenet_200ep.toml"),
    ),
    (
        "densecl_r50_coco_800ep",
        include_str!("../../configs/densecl_r50_coco_800ep.toml"),
    ),
    (
        "mocov2_r50_coco_800ep",
        include_str!("../../configs/mocov2_r50_coco_800ep.toml"),
    ),
    ("photos_r18", include_str!("../../configs/photos_r18.toml")),
    (
        "photos_r18_gpu",
        include_str!("../../configs/photos_r18_gpu.toml"),
    ),
    (
        "byol_scenes",
        include_str!("../../configs/byol_scenes.toml"),
    ),
    (
        "byol_r50_imagenet",
        include_str!("../../configs/byol_r50_imagenet.toml"),
    ),
    (
        "univip_scenes",
        include_str!("../../configs/univip_scenes.toml"),
    ),
    (
        "univip_r50_coco_800ep",
        include_str!("../../configs/univip_r50_coco_800ep.toml"),
    ),
    (
        "3sat_scenes",
        include_str!("../../configs/3sat_scenes.toml"),
    ),
    (
        "3sat_r18_cifar10",
        include_str!("../../configs/3sat_r18_cifar10.toml"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::settings;

    #[test]
    fn every_preset_resolves_and_is_valid() {
        for (name, text) in PRESETS {
            let config: RunConfig =
                settings::resolve(&[(name, text)], &[]).expect("a preset that resolves");
            config.validate().expect("a valid preset");
        }
    }
}
