//! Target data of images.

use crate::data::target::{OsDistro, TargetMetadata};
use crate::image::ImageConfig;

const ID: &str = "io.buildpacks.base.id";
const DISTRO_NAME: &str = "io.buildpacks.base.distro.name";
const DISTRO_VERSION: &str = "io.buildpacks.base.distro.version";

/// What an image says of the system it is for (platform.md, "analyzed.toml").
pub fn of_image(config: &ImageConfig) -> TargetMetadata {
    let text = |label: &str| config.label(label).unwrap_or_default().to_owned();
    let has_distro = [DISTRO_NAME, DISTRO_VERSION].iter().any(|label| config.label(label).is_some());
    TargetMetadata {
        id: config.label(ID).map(str::to_owned),
        os: config.os().to_owned(),
        arch: config.architecture().to_owned(),
        arch_variant: Some(config.variant().to_owned()).filter(|variant| !variant.is_empty()),
        distro: has_distro.then(|| OsDistro { name: text(DISTRO_NAME), version: text(DISTRO_VERSION) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_label_is_enough_for_a_distribution() {
        let config = |json: &str| ImageConfig::parse(json.as_bytes()).unwrap();
        let plain = of_image(&config(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#));
        assert_eq!((plain.os.as_str(), plain.arch.as_str(), plain.arch_variant.as_deref()), ("linux", "arm64", Some("v8")));
        assert_eq!(plain.distro, None);
        let labelled = of_image(&config(r#"{"config":{"Labels":{"io.buildpacks.base.distro.version":"1"}}}"#));
        assert_eq!(labelled.distro, Some(OsDistro { name: String::new(), version: "1".into() }));
    }
}
