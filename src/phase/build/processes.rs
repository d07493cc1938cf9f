//! The processes of all buildpacks as one list.

use std::collections::BTreeMap;

use tracing::warn;

use crate::api::PlatformApi;
use crate::data::build_metadata::Process;

/// One process per type: the last buildpack that defines a type has its way (buildpack.md, "launch.toml").
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_type: BTreeMap<String, Process>,
    default_type: String,
}

impl Processes {
    /// Takes in the processes of one buildpack. The last process marked as default is the default; one that is defined
    /// again without the mark is not the default any more, with a warning.
    pub fn add(&mut self, processes: Vec<Process>) {
        let mut unmarked = None;
        for process in processes {
            if process.default {
                self.default_type.clone_from(&process.kind);
                unmarked = None;
            } else if process.kind == self.default_type {
                self.default_type.clear();
                unmarked = Some(process.kind.clone());
            }
            self.by_type.insert(process.kind.clone(), process);
        }
        if let Some(kind) = unmarked {
            let what = "redefining the following default process type with a process not marked as default";
            warn!("Warning: {what}: {kind}\n");
        }
    }

    pub fn default_type(&self) -> &str {
        &self.default_type
    }

    /// Sorted by type. None is marked: the default is told once, besides the list.
    pub fn list(self, api: PlatformApi) -> Vec<Process> {
        self.by_type.into_values().map(|process| Process { default: false, ..process }.for_platform(api)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(kind: &str, default: bool) -> Process {
        Process { kind: kind.into(), default, ..Process::default() }
    }

    #[test]
    fn the_last_mark_wins_and_can_be_lost() {
        let mut processes = Processes::default();
        processes.add(vec![process("web", true), process("worker", false)]);
        processes.add(vec![process("task", true)]);
        assert_eq!(processes.default_type(), "task");
        processes.add(vec![process("web", false), process("task", false)]);
        assert_eq!(processes.default_type(), "");
        let list = processes.list(PlatformApi::latest());
        assert_eq!(list.iter().map(|p| p.kind.as_str()).collect::<Vec<_>>(), ["task", "web", "worker"]);
        assert!(list.iter().all(|p| !p.default));
    }
}
