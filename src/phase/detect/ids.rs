//! Ids that cannot be built with: their layers would lie in each other's place, or in the lifecycle's.

use std::collections::BTreeMap;

use crate::bail;
use crate::data::group::Group;
use crate::error::{Failure, Result};
use crate::layers::dir::escape_id;

/// Directories of the lifecycle in the layers directory.
const RESERVED: [&str; 4] = ["app", "config", "generated", "sbom"];

/// buildpack.md, "buildpack.toml": the id MUST NOT be `app`, `config`, `generated`, or `sbom`, and MUST NOT be identical to
/// another one. The reference lets them pass (spec-and-reference.md A8).
pub(super) fn check(group: &Group) -> Result<()> {
    fn check(group: &Group) -> Result<()> {
        let mut directories = BTreeMap::new();
        for buildpack in &group.group {
            if RESERVED.contains(&buildpack.id.as_str()) {
                bail!("buildpack {buildpack}: the id '{}' is reserved for the lifecycle's own directory", buildpack.id);
            }
            if let Some(other) = directories.insert(escape_id(&buildpack.id), buildpack) {
                bail!("buildpacks {other} and {buildpack} have the same layers directory '{}'", escape_id(&buildpack.id));
            }
        }
        Ok(())
    }
    check(group).map_err(|e| e.or_failure(Failure::Detect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::group::GroupElement;

    #[test]
    fn ids_whose_layers_would_collide_are_refused() {
        let group = |ids: &[&str]| {
            let element = |id: &&str| GroupElement { id: (*id).into(), version: "1".into(), ..GroupElement::default() };
            Group { group: ids.iter().map(element).collect(), extensions: Vec::new() }
        };
        for good in [&["a/b", "a-b", "A_B", "apps", "launcher"][..], &[]] {
            check(&group(good)).unwrap();
        }
        for bad in [&["a/b", "x", "a_b"][..], &["sbom"], &["app"], &["config"], &["generated"]] {
            let error = check(&group(bad)).unwrap_err();
            assert_eq!(error.failure(), Some(Failure::Detect));
            assert!(error.to_string().contains(&format!("{}@1", bad[0])), "{error}");
        }
    }
}
