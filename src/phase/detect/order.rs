//! One order out of the buildpacks' order, the extensions' order and the builder's system buildpacks.

use std::rc::Rc;

use tracing::debug;

use crate::data::group::GroupElement;
use crate::data::order::Order;
use crate::data::system::{System, SystemBuildpack};

/// An element of a group that is not expanded yet.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Module(Module),
    /// Some group of extensions or none, whatever passes first.
    Extensions(Rc<Vec<Vec<Item>>>),
}

#[derive(Clone, Debug)]
pub(super) struct Module {
    pub element: GroupElement,
    /// The composite buildpacks in whose orders the element stands, from the outermost; to find those that name themselves.
    pub inside: Vec<GroupElement>,
}

/// Groups of modules that stand in the orders of these composite buildpacks.
pub(super) fn modules(groups: &[Vec<GroupElement>], inside: &[GroupElement]) -> Vec<Vec<Item>> {
    let module = |element: &GroupElement| Item::Module(Module { element: element.clone(), inside: inside.to_vec() });
    groups.iter().map(|group| group.iter().map(module).collect()).collect()
}

/// The order to walk: each group of buildpacks, with the extensions before it (image_extension.md, "Detection").
pub(super) fn items(order: &Order) -> Vec<Vec<Item>> {
    let mut groups = modules(&order.groups, &[]);
    if !order.extension_groups.is_empty() {
        let extensions = Rc::new(modules(&order.extension_groups, &[]));
        for group in &mut groups {
            group.insert(0, Item::Extensions(extensions.clone()));
        }
    }
    groups
}

/// Puts the builder's buildpacks around every group that does not have them, of whatever version (platform.md,
/// "system.toml").
pub(super) fn add_system_buildpacks(order: &mut Order, system: &System) {
    for group in &mut order.groups {
        let missing = |buildpacks: &[SystemBuildpack]| -> Vec<GroupElement> {
            let element =
                |b: &SystemBuildpack| GroupElement { id: b.id.clone(), version: b.version.clone(), ..Default::default() };
            let is_missing = |b: &&SystemBuildpack| !group.iter().any(|e| e.id == b.id);
            buildpacks.iter().filter(is_missing).map(element).collect()
        };
        let (pre, post) = (missing(&system.pre), missing(&system.post));
        if !pre.is_empty() {
            debug!("Prepending {} system buildpack(s) to group", pre.len());
        }
        if !post.is_empty() {
            debug!("Appending {} system buildpack(s) to group", post.len());
        }
        group.splice(0..0, pre);
        group.extend(post);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_buildpacks_stand_around_every_group_once() {
        let element = |id: &str| GroupElement { id: id.into(), version: "1".into(), ..GroupElement::default() };
        let mut order = Order { groups: vec![vec![element("a")], vec![element("pre"), element("b")]], ..Order::default() };
        let buildpack = |id: &str| SystemBuildpack { id: id.into(), version: "2".into() };
        let system = System { pre: vec![buildpack("pre")], post: vec![buildpack("post")] };
        add_system_buildpacks(&mut order, &system);
        let texts: Vec<Vec<String>> = order.groups.iter().map(|g| g.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(texts, [["pre@2", "a@1", "post@2"], ["pre@1", "b@1", "post@2"]]);
    }

    #[test]
    fn extensions_stand_before_every_group() {
        let element = |id: &str| GroupElement { id: id.into(), ..GroupElement::default() };
        let mut order = Order { groups: vec![vec![element("a")], vec![]], extension_groups: vec![vec![element("e")]] };
        let items_of = |order: &Order| items(order).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(items_of(&order), [2, 1]);
        assert!(matches!(items(&order)[0][0], Item::Extensions(_)));
        order.extension_groups.clear();
        assert_eq!(items_of(&order), [1, 0]);
    }
}
