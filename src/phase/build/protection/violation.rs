//! A change that a buildpack made to what is not its own, in words.

use std::collections::BTreeMap;
use std::fmt;

use crate::layers::snapshot::{Change, Kind};

/// Changes to one layer, or to one document, while a buildpack ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `layer 'a:x'`, `file 'store.toml' of buildpack 'a'`.
    subject: String,
    /// The name of the layer, for layers.
    pub layer: Option<String>,
    /// The buildpack that ran.
    by: String,
    pub changes: Vec<Change>,
}

impl Violation {
    /// The changes below a buildpack's directory, layer by layer: its directory, `<layer>.toml` and SBOM files.
    pub fn of_layers(owner: &str, by: &str, changes: Vec<Change>) -> Vec<Self> {
        let mut by_subject: BTreeMap<(bool, String), Vec<Change>> = BTreeMap::new();
        for change in changes {
            by_subject.entry(subject(&change)).or_default().push(change);
        }
        let violation = |((is_document, name), changes): ((bool, String), Vec<Change>)| {
            let subject =
                if is_document { format!("file '{name}' of buildpack '{owner}'") } else { format!("layer '{owner}:{name}'") };
            Self { subject, layer: (!is_document).then_some(name), by: by.to_owned(), changes }
        };
        by_subject.into_iter().map(violation).collect()
    }

    /// The changes to documents of the lifecycle.
    pub fn of_lifecycle(by: &str, changes: Vec<Change>) -> Vec<Self> {
        let violation = |change: Change| {
            let subject = format!("file '{}' of the lifecycle", String::from_utf8_lossy(&change.path));
            Self { subject, layer: None, by: by.to_owned(), changes: vec![change] }
        };
        changes.into_iter().map(violation).collect()
    }
}

/// Whether it is a document of the buildpack or a layer, and its name.
fn subject(change: &Change) -> (bool, String) {
    let top = change.top();
    let name = String::from_utf8_lossy(top).into_owned();
    if top.len() != change.path.len() {
        return (false, name);
    }
    if let Some((layer, _)) = name.split_once(".sbom.").filter(|_| name.ends_with(".json")) {
        return (matches!(layer, "launch" | "build"), if matches!(layer, "launch" | "build") { name } else { layer.to_owned() });
    }
    match name.strip_suffix(".toml") {
        Some("launch" | "build" | "store") => (true, name),
        Some(layer) => (false, layer.to_owned()),
        None => (false, name),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let Self { subject, by, changes, .. } = self;
        let possibly = if changes.iter().all(|c| c.kind == Kind::Touched) { "possibly " } else { "" };
        let paths = if changes.len() == 1 { "path" } else { "paths" };
        write!(f, "{subject} changed while buildpack '{by}' ran: {possibly}{} {paths} (", changes.len())?;
        for (n, change) in changes.iter().take(SHOWN).enumerate() {
            write!(f, "{}{change}", if n > 0 { ", " } else { "" })?;
        }
        f.write_str(if changes.len() > SHOWN { ", …)" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_layer() {
        let change = |path: &str, kind| Change { path: path.into(), kind };
        let mut changes: Vec<_> = (1..=6).map(|n| change(&format!("x/f{n}"), Kind::Added)).collect();
        changes.extend([
            change("x.toml", Kind::Modified),
            change("y.sbom.cdx.json", Kind::Touched),
            change("store.toml", Kind::Removed),
            change("launch.sbom.cdx.json", Kind::Removed),
        ]);
        let texts: Vec<_> = Violation::of_layers("a/b", "c", changes).iter().map(ToString::to_string).collect();
        let wanted = [
            "layer 'a/b:x' changed while buildpack 'c' ran: 7 paths (added x/f1, added x/f2, added x/f3, added x/f4, added \
             x/f5, …)",
            "layer 'a/b:y' changed while buildpack 'c' ran: possibly 1 path (touched y.sbom.cdx.json)",
            "file 'launch.sbom.cdx.json' of buildpack 'a/b' changed while buildpack 'c' ran: 1 path (removed \
             launch.sbom.cdx.json)",
            "file 'store.toml' of buildpack 'a/b' changed while buildpack 'c' ran: 1 path (removed store.toml)",
        ];
        assert_eq!(texts, wanted);
        let group = Violation::of_lifecycle("c", vec![change("group.toml", Kind::Modified)]);
        assert!(group[0].to_string().starts_with("file 'group.toml' of the lifecycle changed while buildpack 'c' ran"));
    }
}
