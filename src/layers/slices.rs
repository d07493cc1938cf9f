//! Slices of the app directory (buildpack.md, "launch.toml"; layer-tar-rules.md §2.4).
//!
//! The app directory is listed once. Every slice takes what its patterns match and no slice before it took; the last layer
//! takes the rest.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::glob;
use super::source::LayerSource;
use super::tar::header::clean;
use super::tar::walk::{Kind, Listing, Order, Walker, absolute};
use crate::error::{Error, Result};

/// The layers of an app directory: one per slice, each given by its patterns, and one for the rest.
pub fn app_layers(app_dir: &Path, slices: &[Vec<String>], uid: u64, gid: u64) -> Result<Vec<LayerSource>> {
    let layer = |slice| LayerSource::App { path: app_dir.to_owned(), slice, uid, gid };
    if slices.is_empty() {
        return Ok(vec![layer(None)]);
    }
    let tree = Arc::new(AppTree::list(app_dir)?);
    let mut taken = vec![false; tree.nodes.len()];
    let mut layers = Vec::with_capacity(slices.len() + 1);
    for patterns in slices {
        let selected = tree.select(patterns, &mut taken)?;
        layers.push(layer(Some(Slice { tree: tree.clone(), selected: selected.into() })));
    }
    let rest: Vec<bool> = taken.iter().map(|t| !t).collect();
    layers.push(layer(Some(Slice { tree, selected: rest.into() })));
    Ok(layers)
}

/// Some of the entries of an app directory.
#[derive(Clone)]
pub struct Slice {
    tree: Arc<AppTree>,
    /// Per node of the tree.
    selected: Arc<[bool]>,
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice").field("entries", &self.selected.iter().filter(|s| **s).count()).finish_non_exhaustive()
    }
}

impl Slice {
    /// No entry at all: the layer's tar is two blocks of zeros.
    pub fn empty() -> Self {
        Self { tree: Arc::new(AppTree { names: Vec::new(), nodes: Vec::new() }), selected: Arc::new([]) }
    }

    pub fn is_empty(&self) -> bool {
        !self.selected.contains(&true)
    }

    /// Writes the selected entries in the order of their full paths.
    pub fn walk(&self, app_dir: &Path, walker: &mut Walker<'_>) -> Result<()> {
        // A parent comes before its children in the tree.
        let mut below = vec![false; self.tree.nodes.len()];
        for (i, node) in self.tree.nodes.iter().enumerate().skip(1).rev() {
            below[node.parent] |= below[i] || self.selected[i];
        }
        walker.path = absolute(app_dir);
        let root = walker.path.clone();
        if self.selected[0] {
            // The directory behind a link is the app (rule R4).
            walker.stat_entry(&root)?;
        }
        if below[0] {
            let dir = walker.open_followed(&root)?;
            self.children(0, &dir, &below, walker)?;
        }
        Ok(())
    }

    fn children(&self, node: usize, dir: &OwnedFd, below: &[bool], walker: &mut Walker<'_>) -> Result<()> {
        let tree = &*self.tree;
        let mut items = Vec::new();
        for child in tree.nodes[node].children.clone() {
            let name = tree.name(child);
            if self.selected[child] {
                items.push((name, false, child));
            }
            if below[child] {
                items.push((name, true, child));
            }
        }
        // What is in `a` stands where `a/` would.
        let key = |&(name, content, _): &(&[u8], bool, usize)| [name, if content { b"/" } else { b"" }].concat();
        items.sort_by_cached_key(key);
        let parent = walker.path.len();
        if walker.path != b"/" {
            walker.path.push(b'/');
        }
        let base = walker.path.len();
        for (name, content, child) in items {
            walker.path.truncate(base);
            walker.path.extend_from_slice(name);
            if content {
                let dir = walker.open_directory(dir.as_fd(), name)?;
                self.children(child, &dir, below, walker)?;
            } else {
                walker.lstat_entry(dir.as_fd(), name)?;
            }
        }
        walker.path.truncate(parent);
        Ok(())
    }
}

/// Names and shape of an app directory.
struct AppTree {
    names: Vec<u8>,
    /// The app directory is the first; children stand together, sorted, behind their parent.
    nodes: Vec<Node>,
}

struct Node {
    parent: usize,
    name: std::ops::Range<usize>,
    children: std::ops::Range<usize>,
}

impl AppTree {
    fn list(app_dir: &Path) -> Result<Self> {
        let root = Node { parent: 0, name: 0..0, children: 0..0 };
        let mut tree = Self { names: Vec::new(), nodes: vec![root] };
        let fault = |e: rustix::io::Errno| Error::io("open", app_dir, &e.into());
        let dir = rustix::fs::open(app_dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(fault)?;
        tree.add_children(0, &dir)?;
        Ok(tree)
    }

    fn add_children(&mut self, parent: usize, dir: &OwnedFd) -> Result<()> {
        let fault = |tree: &Self, act: &str, node: usize, e: rustix::io::Errno| {
            Error::io(act, Path::new(&*String::from_utf8_lossy(&tree.path(node))), &e.into())
        };
        let mut listing = Listing::default();
        listing.read(dir.as_fd(), Order::ByName).map_err(|e| fault(self, "read", parent, e))?;
        let first = self.nodes.len();
        for item in &listing.items {
            let start = self.names.len();
            self.names.extend_from_slice(listing.name(item));
            self.nodes.push(Node { parent, name: start..self.names.len(), children: 0..0 });
        }
        self.nodes[parent].children = first..self.nodes.len();
        for (child, item) in (first..).zip(&listing.items) {
            if item.kind == Kind::Directory {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = rustix::fs::openat(dir, listing.name(item), flags, Mode::empty())
                    .map_err(|e| fault(self, "open", child, e))?;
                self.add_children(child, &dir)?;
            }
        }
        Ok(())
    }

    fn name(&self, node: usize) -> &[u8] {
        &self.names[self.nodes[node].name.clone()]
    }

    /// Relative to the app directory.
    fn path(&self, node: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = node;
        while at != 0 {
            parts.push(self.name(at));
            at = self.nodes[at].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    fn depth(&self, mut node: usize) -> usize {
        let mut depth = 0;
        while node != 0 {
            node = self.nodes[node].parent;
            depth += 1;
        }
        depth
    }

    /// What a slice holds: matched entries with all that is below them unless taken, and the directories above.
    fn select(&self, patterns: &[String], taken: &mut [bool]) -> Result<Vec<bool>> {
        let mut selected = vec![false; self.nodes.len()];
        for pattern in patterns {
            let pattern = clean(pattern.as_bytes(), pattern.starts_with('/'));
            for node in 1..self.nodes.len() {
                let path = self.path(node);
                let matched = glob::matches(&pattern, &path).map_err(|e| {
                    let text = String::from_utf8_lossy;
                    Error::new(format!("failed to check if '{}' matches '{}': {e}", text(&path), text(&pattern)))
                })?;
                if matched {
                    self.take(node, taken, &mut selected);
                }
            }
        }
        let mut parents: Vec<usize> = Vec::new();
        for node in 1..self.nodes.len() {
            if !selected[node] {
                continue;
            }
            let mut at = node;
            while at != 0 {
                at = self.nodes[at].parent;
                if !selected[at] && !parents.contains(&at) {
                    parents.push(at);
                }
            }
        }
        // A directory counts as taken once nothing below it is left; the deepest first.
        parents.sort_by_key(|&p| std::cmp::Reverse(self.depth(p)));
        for parent in parents {
            selected[parent] = true;
            taken[parent] = self.nodes[parent].children.clone().all(|c| taken[c]);
        }
        Ok(selected)
    }

    fn take(&self, node: usize, taken: &mut [bool], selected: &mut [bool]) {
        if taken[node] {
            return;
        }
        for child in self.nodes[node].children.clone() {
            self.take(child, taken, selected);
        }
        taken[node] = true;
        selected[node] = true;
    }
}
