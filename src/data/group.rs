//! `group.toml` (platform.md, "group.toml").

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub group: Vec<GroupElement>,
    pub extensions: Vec<GroupElement>,
}

/// A buildpack or an extension in an order or a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupElement {
    pub id: String,
    pub version: String,
    /// Buildpack API as written in its descriptor; group.toml only.
    pub api: String,
    /// group.toml only.
    pub homepage: String,
    pub extension: bool,
    pub optional: bool,
    /// Execution environments of an order's element (buildpack.md, "order.group.exec-env"); empty means any.
    pub exec_env: Vec<String>,
}

impl std::fmt::Display for GroupElement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}
