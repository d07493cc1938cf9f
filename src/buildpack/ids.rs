//! Ids of buildpacks as names of directories below the layers directory.

use crate::bail;
use crate::data::group::GroupElement;
use crate::error::Result;
use crate::layers::dir::escape_id;

/// Ids that a buildpack must not have (buildpack.md, "buildpack.toml"): the lifecycle has directories of these names.
const RESERVED: [&str; 4] = ["app", "config", "generated", "sbom"];

/// Refuses a group in which a buildpack would write into a directory of the lifecycle or of another buildpack.
pub fn check_directories(group: &[GroupElement]) -> Result<()> {
    for (index, element) in group.iter().enumerate() {
        let id = &element.id;
        if RESERVED.contains(&id.as_str()) {
            bail!("buildpack id '{id}' is reserved: <layers>/{id} belongs to the lifecycle");
        }
        let same = |other: &&GroupElement| other.id != *id && escape_id(&other.id) == escape_id(id);
        if let Some(other) = group[..index].iter().find(same) {
            bail!("buildpacks '{}' and '{id}' would share the directory <layers>/{}", other.id, escape_id(id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ids: &[&str]) -> Result<()> {
        let group: Vec<_> = ids.iter().map(|id| GroupElement { id: (*id).into(), ..GroupElement::default() }).collect();
        check_directories(&group)
    }

    #[test]
    fn buildpacks_do_not_share_directories() {
        let error = check(&["a/b", "c", "a_b"]).unwrap_err().to_string();
        assert_eq!(error, "buildpacks 'a/b' and 'a_b' would share the directory <layers>/a_b");
        assert!(check(&["a/b", "A/B", "a/b", "with blank", "my/app"]).is_ok());
    }

    /// buildpack.md: "id … MUST NOT be app, config, generated, or sbom".
    #[test]
    fn reserved_ids_are_refused() {
        for id in RESERVED {
            assert!(check(&["a", id]).unwrap_err().to_string().contains("reserved"), "{id}");
        }
    }
}
