//! `order.toml` (platform.md, "order.toml").

use super::group::GroupElement;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub groups: Vec<Vec<GroupElement>>,
    pub extension_groups: Vec<Vec<GroupElement>>,
}
