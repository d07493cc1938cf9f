//! Every input of every command: its flag, its variables, its default, and under which Platform APIs a command knows the
//! flag. One table feeds the parser, the look-up of variables, the checks and the help.
//!
//! An input has a value in every command: where the command has no such flag, the variable and the default still count, as
//! in the reference (`CNB_ANALYZED_PATH` for a builder below 0.12, say).

use crate::api::PlatformApi;

use super::applet::Command::{self, Analyze, Build, Create, Detect, Export, Extend, Rebase, Restore};
use super::choices;

/// Whether a flag exists under a Platform API.
pub type Gate = fn(PlatformApi) -> bool;

#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The flag without its dash; for an input that has only a variable, a name of the same style.
    pub name: &'static str,
    /// The first one that is set counts; of switches, any one that is true.
    pub variables: &'static [&'static str],
    /// `<layers>` stands for the layers directory.
    pub default: &'static str,
    pub kind: Kind,
    /// Which commands know the flag, and when.
    pub flag: &'static [(Gate, &'static [Command])],
    /// Which commands use the variable although they have no such flag. Only inputs of our own have such.
    pub variable_of: &'static [Command],
    pub group: Group,
    pub help: &'static str,
}

/// What an input's text means, and whether anything else is refused.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// A path that is taken as given, `<layers>` replaced.
    Path,
    /// A directory: made absolute, `<layers>` replaced.
    Directory,
    Switch,
    /// A switch of our own: a variable that is neither true nor false is refused.
    StrictSwitch,
    Integer,
    /// Go's notation, `336h0m0s`.
    Duration,
    /// May be repeated; commas separate, empty items mean nothing.
    List,
    /// Only what the check accepts; the text says what that is.
    Checked {
        good: &'static str,
        check: fn(&str) -> bool,
    },
}

/// Headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Images,
    Stores,
    Directories,
    Files,
    Caches,
    Build,
    User,
    Messages,
}

impl Group {
    pub fn heading(self) -> &'static str {
        match self {
            Self::Images => "Images",
            Self::Stores => "Where images are",
            Self::Directories => "Directories",
            Self::Files => "Files",
            Self::Caches => "Caches and earlier layers",
            Self::Build => "Build and result",
            Self::User => "User",
            Self::Messages => "Messages",
        }
    }
}

impl Input {
    /// Whether `command` knows the flag under `api`.
    pub fn is_flag_of(&self, command: Command, api: PlatformApi) -> bool {
        self.flag.iter().any(|(gate, commands)| gate(api) && commands.contains(&command))
    }

    /// Whether `command` has any use for the input under some Platform API.
    pub fn concerns(&self, command: Command) -> bool {
        self.variable_of.contains(&command) || self.flag.iter().any(|(_, commands)| commands.contains(&command))
    }

    /// A switch may stand alone and never takes the next argument for its value.
    pub fn is_switch(&self) -> bool {
        matches!(self.kind, Kind::Switch | Kind::StrictSwitch)
    }

    #[cfg(test)]
    pub fn named(name: &str) -> Option<&'static Self> {
        INPUTS.iter().find(|input| input.name == name)
    }
}

const fn any(_: PlatformApi) -> bool {
    true
}

fn before_run_toml(api: PlatformApi) -> bool {
    !api.has_run_toml()
}

const EVERY: &[Command] = &Command::ALL;
const REGISTRY: &[Command] = &[Analyze, Restore, Export, Create, Rebase, Extend];

const fn input(name: &'static str, kind: Kind, group: Group, help: &'static str) -> Input {
    Input { name, variables: &[], default: "", kind, flag: &[], variable_of: &[], group, help }
}

const fn text(name: &'static str, group: Group, help: &'static str) -> Input {
    input(name, Kind::Text, group, help)
}

const fn switch(name: &'static str, group: Group, help: &'static str) -> Input {
    input(name, Kind::Switch, group, help)
}

const fn file(name: &'static str, default: &'static str, help: &'static str) -> Input {
    Input { default, ..input(name, Kind::Path, Group::Files, help) }
}

const fn directory(name: &'static str, default: &'static str, help: &'static str) -> Input {
    Input { default, ..input(name, Kind::Directory, Group::Directories, help) }
}

/// All inputs, within a group in the order of the help.
pub const INPUTS: &[Input] = &[
    Input {
        variables: &["CNB_RUN_IMAGE"],
        flag: &[(any, &[Analyze, Export, Create, Rebase])],
        ..text("run-image", Group::Images, "reference to run image")
    },
    Input { flag: &[(any, &[Export, Rebase])], ..text("image", Group::Images, "[deprecated] reference to run image") },
    Input {
        variables: &["CNB_BUILD_IMAGE"],
        flag: &[(PlatformApi::has_extensions, &[Restore])],
        ..text("build-image", Group::Images, "reference to build image, for image extensions")
    },
    Input {
        variables: &["CNB_PREVIOUS_IMAGE"],
        flag: &[(any, &[Analyze, Create]), (PlatformApi::has_rebase_of_previous_image, &[Rebase])],
        ..text("previous-image", Group::Images, "reference to previous image; unless given, the output image")
    },
    Input { flag: &[(any, &[Analyze, Create])], ..input("tag", Kind::List, Group::Images, "additional tags, may be repeated") },
    Input {
        variables: &["CNB_USE_DAEMON"],
        flag: &[(any, &[Analyze, Export, Create, Rebase]), (PlatformApi::has_restorer_stores, &[Restore])],
        ..switch("daemon", Group::Stores, "images are in the docker daemon instead of a registry")
    },
    Input {
        variables: &["CNB_USE_LAYOUT"],
        flag: &[(PlatformApi::has_layout, &[Analyze, Restore, Export, Create])],
        ..switch("layout", Group::Stores, "images are on disk in OCI layout format instead of a registry")
    },
    Input {
        variables: &["CNB_LAYOUT_DIR"],
        flag: &[(PlatformApi::has_layout, &[Analyze, Restore, Export, Create])],
        ..input("layout-dir", Kind::Path, Group::Stores, "path to directory for images in OCI layout format")
    },
    Input {
        variables: &["CNB_INSECURE_REGISTRIES"],
        flag: &[(PlatformApi::has_insecure_registries, &[Analyze, Restore, Export, Create, Rebase])],
        ..input(
            "insecure-registry",
            Kind::List,
            Group::Stores,
            "host[:port] of a registry to speak to without TLS or with an untrusted certificate, may be repeated",
        )
    },
    Input {
        variables: &["CNB_REGISTRY_MIRRORS"],
        variable_of: REGISTRY,
        ..input(
            "registry-mirrors",
            Kind::Checked { good: "`host=https://mirror[;host=…]`", check: choices::is_registry_mirrors },
            Group::Stores,
            "where to read images instead of their registry",
        )
    },
    Input {
        variables: &["CNB_REGISTRY_AUTH_FILE"],
        variable_of: REGISTRY,
        ..text("registry-auth-file", Group::Stores, "path to a docker config.json with credentials")
    },
    Input {
        variables: &["CNB_REGISTRY_CA"],
        variable_of: REGISTRY,
        ..text("registry-ca", Group::Stores, "file or directory of certificates (PEM) to trust in addition")
    },
    Input {
        variables: &["CNB_REGISTRY_TIMEOUT"],
        default: "600",
        variable_of: REGISTRY,
        ..input(
            "registry-timeout",
            Kind::Checked { good: "a number of seconds above 0", check: choices::is_seconds },
            Group::Stores,
            "seconds of retries without progress until a transfer fails",
        )
    },
    Input {
        variables: &["CNB_APP_DIR"],
        flag: &[(any, &[Detect, Build, Export, Create, Extend])],
        ..directory("app", "/workspace", "path to app directory")
    },
    Input {
        variables: &["CNB_LAYERS_DIR"],
        flag: &[(any, &[Analyze, Detect, Restore, Build, Export, Create, Extend])],
        ..directory("layers", "/layers", "path to layers directory")
    },
    Input {
        variables: &["CNB_PLATFORM_DIR"],
        flag: &[(any, &[Detect, Build, Create, Extend])],
        ..directory("platform", "/platform", "path to platform directory")
    },
    Input {
        variables: &["CNB_BUILDPACKS_DIR"],
        flag: &[(any, &[Detect, Build, Create, Extend])],
        ..directory("buildpacks", "/cnb/buildpacks", "path to buildpacks directory")
    },
    Input {
        variables: &["CNB_EXTENSIONS_DIR"],
        flag: &[(PlatformApi::has_extensions, &[Detect])],
        ..directory("extensions", "/cnb/extensions", "path to extensions directory")
    },
    Input {
        variables: &["CNB_BUILD_CONFIG_DIR"],
        flag: &[(PlatformApi::has_build_config, &[Detect, Build, Create])],
        ..directory("build-config", "/cnb/build-config", "path to build config directory")
    },
    Input {
        variables: &["CNB_GENERATED_DIR"],
        flag: &[(any, &[Extend]), (PlatformApi::has_extensions, &[Detect]), (PlatformApi::has_restorer_stores, &[Restore])],
        ..directory("generated", "<layers>/generated", "path to directory for files generated by image extensions")
    },
    Input {
        variables: &["CNB_EXTENDED_DIR"],
        kind: Kind::Path,
        flag: &[(PlatformApi::has_run_image_extension, &[Export, Extend])],
        ..directory(
            "extended",
            "<layers>/extended",
            "path to directory for image layers created from applying generated Dockerfiles",
        )
    },
    Input {
        kind: Kind::Path,
        flag: &[(PlatformApi::has_lifecycle_sbom, &[Export, Create])],
        ..directory("launcher-sbom", "/cnb/lifecycle", "path to launcher SBOM directory")
    },
    Input {
        variables: &["CNB_ANALYZED_PATH"],
        flag: &[
            (any, &[Analyze, Restore, Export, Extend]),
            (PlatformApi::has_extensions, &[Detect]),
            (PlatformApi::has_targets, &[Build]),
        ],
        ..file("analyzed", "<layers>/analyzed.toml", "path to analyzed.toml")
    },
    Input {
        variables: &["CNB_ORDER_PATH"],
        flag: &[(any, &[Detect, Create])],
        ..file("order", "<layers>/order.toml", "path to order.toml; unless given and absent, /cnb/order.toml")
    },
    Input {
        variables: &["CNB_SYSTEM_PATH"],
        flag: &[(PlatformApi::has_system_buildpacks, &[Detect, Create])],
        ..file("system", "/cnb/system.toml", "path to system.toml")
    },
    Input {
        variables: &["CNB_RUN_PATH"],
        flag: &[(PlatformApi::has_run_toml, &[Analyze, Detect, Export, Create]), (PlatformApi::rechecks_run_image, &[Restore])],
        ..file("run", "/cnb/run.toml", "path to run.toml")
    },
    Input {
        variables: &["CNB_STACK_PATH"],
        flag: &[(any, &[Create]), (before_run_toml, &[Analyze, Export])],
        ..file("stack", "/cnb/stack.toml", "path to stack.toml, superseded by run.toml")
    },
    Input {
        variables: &["CNB_GROUP_PATH"],
        flag: &[(any, &[Detect, Restore, Build, Export, Extend])],
        ..file("group", "<layers>/group.toml", "path to group.toml")
    },
    Input {
        variables: &["CNB_PLAN_PATH"],
        flag: &[(any, &[Detect, Build, Extend])],
        ..file("plan", "<layers>/plan.toml", "path to plan.toml")
    },
    Input {
        variables: &["CNB_PROJECT_METADATA_PATH"],
        flag: &[(any, &[Export, Create])],
        ..file("project-metadata", "<layers>/project-metadata.toml", "path to project-metadata.toml")
    },
    Input {
        variables: &["CNB_REPORT_PATH"],
        flag: &[(any, &[Export, Create, Rebase])],
        ..file("report", "<layers>/report.toml", "path to report.toml")
    },
    Input { flag: &[(any, &[Export, Create])], ..file("launcher", "/cnb/lifecycle/launcher", "path to launcher binary") },
    Input {
        variables: &["CNB_CACHE_DIR"],
        flag: &[(any, &[Restore, Export, Create])],
        ..input("cache-dir", Kind::Directory, Group::Caches, "path to cache directory")
    },
    Input {
        variables: &["CNB_CACHE_IMAGE"],
        flag: &[(any, &[Analyze, Restore, Export, Create])],
        ..text("cache-image", Group::Caches, "reference to cache image; wins over a cache directory")
    },
    Input {
        variables: &["CNB_LAUNCH_CACHE_DIR"],
        flag: &[(any, &[Export, Create]), (PlatformApi::has_analyzer_launch_cache, &[Analyze])],
        ..input("launch-cache", Kind::Directory, Group::Caches, "path to launch cache directory, for use with a daemon")
    },
    Input {
        variables: &["CNB_SKIP_LAYERS", "CNB_SKIP_RESTORE"],
        flag: &[(any, &[Restore]), (PlatformApi::has_analyzer_launch_cache, &[Analyze])],
        ..switch("skip-layers", Group::Caches, "do not provide layer metadata to buildpacks")
    },
    Input {
        variables: &["CNB_SKIP_RESTORE", "CNB_SKIP_LAYERS"],
        flag: &[(any, &[Create])],
        ..switch("skip-restore", Group::Caches, "do not restore layers or layer metadata")
    },
    Input {
        variables: &["CNB_SKIP_SBOM"],
        flag: &[(any, &[Analyze, Create])],
        ..input("skip-sbom", Kind::StrictSwitch, Group::Caches, "do not restore the SBOM layer of the previous image")
    },
    Input {
        variables: &["CNB_PARALLEL_EXPORT"],
        flag: &[(any, &[Export, Create])],
        ..switch("parallel", Group::Caches, "export app image and cache image in parallel")
    },
    Input {
        variables: &["CNB_KANIKO_CACHE_TTL"],
        default: "336h0m0s",
        flag: &[(any, &[Extend])],
        ..input("kaniko-cache-ttl", Kind::Duration, Group::Caches, "how long layers cached by the extender are good")
    },
    Input {
        variables: &["CNB_PROCESS_TYPE"],
        flag: &[(any, &[Export, Create])],
        ..text("process-type", Group::Build, "default process type")
    },
    Input {
        variables: &["CNB_EXTEND_KIND"],
        default: "build",
        flag: &[(PlatformApi::has_run_image_extension, &[Extend])],
        ..input(
            "kind",
            Kind::Checked { good: "`build` or `run`", check: choices::is_extend_kind },
            Group::Build,
            "kind of image to extend",
        )
    },
    Input {
        variables: &["CNB_FORCE_REBASE"],
        flag: &[(PlatformApi::has_forced_rebase, &[Rebase])],
        ..switch("force", Group::Build, "execute rebase even if operation is unsafe")
    },
    Input {
        variables: &["CNB_EXEC_ENV"],
        default: "production",
        variable_of: &[Detect, Build, Export, Create, Extend],
        ..text("exec-env", Group::Build, "execution environment of the build, such as test")
    },
    Input {
        variables: &["CNB_LAYER_PROTECTION"],
        default: "off",
        flag: &[(any, &[Build, Extend, Create, Export])],
        ..input(
            "layer-protection",
            Kind::Checked {
                good: "`off`, `warn`, `error`, `enforce`, `enforce-strict` or `discard`",
                check: choices::is_layer_protection,
            },
            Group::Build,
            "what happens to changes in layers of earlier buildpacks",
        )
    },
    Input {
        variables: &["CNB_LAYER_PROTECTION_ALLOW"],
        variable_of: &[Build, Extend, Create, Export],
        ..input(
            "layer-protection-allow",
            Kind::Checked { good: "`<buildpack id>:<layer glob>[,…]`", check: choices::is_layer_protection_allow },
            Group::Build,
            "layers that later buildpacks may change",
        )
    },
    Input {
        variables: &["CNB_COMPRESSION"],
        default: "gzip:1",
        variable_of: &[Export, Create],
        ..input(
            "compression",
            Kind::Checked {
                good: "`gzip`, `gzip:1` to `gzip:9`, `zstd` or `zstd:1` to `zstd:19`",
                check: choices::is_compression,
            },
            Group::Build,
            "codec of new layers",
        )
    },
    Input {
        variables: &["CNB_REPORT_RUN_IMAGE"],
        variable_of: &[Export, Create, Rebase],
        ..input("report-run-image", Kind::StrictSwitch, Group::Build, "name the run image in report.toml")
    },
    Input {
        variables: &["CNB_USER_ID"],
        default: "0",
        flag: &[(any, &[Analyze, Restore, Export, Create, Rebase, Extend])],
        ..input("uid", Kind::Integer, Group::User, "UID of user in the build and run images")
    },
    Input {
        variables: &["CNB_GROUP_ID"],
        default: "0",
        flag: &[(any, &[Analyze, Restore, Export, Create, Rebase, Extend])],
        ..input("gid", Kind::Integer, Group::User, "GID of user's group in the build and run images")
    },
    Input {
        variables: &["CNB_LOG_LEVEL"],
        default: "info",
        flag: &[(any, EVERY)],
        ..text("log-level", Group::Messages, "logging level: debug, info, warn, error")
    },
    Input { variables: &["CNB_NO_COLOR"], flag: &[(any, EVERY)], ..switch("no-color", Group::Messages, "disable color output") },
    Input { flag: &[(any, EVERY)], ..switch("version", Group::Messages, "show version") },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_variables_are_unique_and_groups_hang_together() {
        let mut headings: Vec<Group> = INPUTS.iter().map(|i| i.group).collect();
        headings.dedup();
        for (n, input) in INPUTS.iter().enumerate() {
            assert!(INPUTS[..n].iter().all(|other| other.name != input.name), "{}", input.name);
            assert_eq!(headings.iter().filter(|&&h| h == input.group).count(), 1, "{}", input.name);
            assert!(input.flag.is_empty() || input.variable_of.is_empty(), "{}", input.name);
        }
    }

    #[test]
    fn flags_come_and_go_with_the_platform_api() {
        let api = |minor| PlatformApi::supported(crate::api::ApiVersion::new(0, minor)).unwrap();
        let knows = |name, command, minor| Input::named(name).unwrap().is_flag_of(command, api(minor));
        assert!(knows("stack", Analyze, 11) && !knows("stack", Analyze, 12) && knows("stack", Create, 15));
        assert!(!knows("run", Restore, 13) && knows("run", Restore, 14));
        assert!(!knows("daemon", Restore, 11) && knows("daemon", Restore, 12) && knows("daemon", Rebase, 7));
        assert!(!knows("exec-env", Create, 15));
    }
}
