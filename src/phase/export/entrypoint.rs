//! Entrypoint and environment of the app image (platform.md, "Exporter").

use std::path::Path;

use tracing::{debug, info};

use crate::api::PlatformApi;
use crate::bail;
use crate::data::build_metadata::BuildMetadata;
use crate::error::Result;

const PROCESS_DIR: &str = "/cnb/process";
const LIFECYCLE_DIR: &str = "/cnb/lifecycle";
const LAUNCHER: &str = "/cnb/lifecycle/launcher";

/// The default process: the platform's choice, else that of the buildpacks, else none and the launcher itself is the
/// entrypoint. The platform's choice must exist.
pub fn default_process<'a>(requested: Option<&'a str>, build: &'a BuildMetadata) -> Result<Option<&'a str>> {
    match requested {
        Some(kind) if build.processes.iter().any(|p| p.kind == kind) => Ok(Some(kind)),
        Some(kind) => {
            let known: Vec<&str> = build.processes.iter().map(|p| p.kind.as_str()).collect();
            let known = if known.is_empty() { "there are no processes".into() } else { format!("known: {}", known.join(", ")) };
            bail!("determining entrypoint: tried to set {kind} to default but it doesn't exist ({known})")
        }
        None => Ok(Some(build.buildpack_default_process_type.as_str()).filter(|t| !t.is_empty())),
    }
}

/// Says what was chosen and gives the path.
pub fn entrypoint(process: Option<&str>) -> String {
    let path = match process {
        Some(kind) => {
            info!("Setting default process type '{kind}'");
            format!("{PROCESS_DIR}/{kind}")
        }
        None => {
            info!("no default process type");
            LAUNCHER.into()
        }
    };
    debug!("Setting ENTRYPOINT: '{path}'");
    path
}

/// The variables of the app image: name and value, in the order in which they are set. `path` is that of the run image.
pub fn variables(api: PlatformApi, layers_dir: &Path, app_dir: &Path, path: Option<&str>) -> Vec<(&'static str, String)> {
    let path = match path {
        Some(path) if !path.is_empty() => format!("{PROCESS_DIR}:{LIFECYCLE_DIR}:{path}"),
        // An empty entry would be the working directory.
        _ => format!("{PROCESS_DIR}:{LIFECYCLE_DIR}"),
    };
    vec![
        ("CNB_LAYERS_DIR", layers_dir.display().to_string()),
        ("CNB_APP_DIR", app_dir.display().to_string()),
        ("CNB_PLATFORM_API", api.to_string()),
        ("CNB_DEPRECATION_MODE", "quiet".into()),
        ("PATH", path),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::build_metadata::Process;

    fn build(types: &[&str], default: &str) -> BuildMetadata {
        let process = |t: &&str| Process { kind: (*t).into(), ..Process::default() };
        BuildMetadata {
            processes: types.iter().map(process).collect(),
            buildpack_default_process_type: default.into(),
            ..BuildMetadata::default()
        }
    }

    #[test]
    fn the_platform_chooses_before_the_buildpacks() {
        let build = build(&["web", "task"], "web");
        assert_eq!(default_process(Some("task"), &build).unwrap(), Some("task"));
        assert_eq!(default_process(None, &build).unwrap(), Some("web"));
    }

    #[test]
    fn without_a_choice_the_launcher_is_the_entrypoint() {
        assert_eq!(default_process(None, &build(&["web"], "")).unwrap(), None);
        assert_eq!(entrypoint(None), "/cnb/lifecycle/launcher");
        assert_eq!(entrypoint(Some("web")), "/cnb/process/web");
    }

    #[test]
    fn a_requested_process_must_exist() {
        let error = default_process(Some("nope"), &build(&["web"], "web")).unwrap_err().to_string();
        assert!(error.contains("tried to set nope to default but it doesn't exist"), "{error}");
        assert!(error.contains("web"), "{error}");
    }

    #[test]
    fn no_path_in_the_run_image_leaves_no_lone_colon() {
        let path = |path| variables(PlatformApi::latest(), Path::new("/layers"), Path::new("/app"), path).pop().unwrap().1;
        assert_eq!(path(None), "/cnb/process:/cnb/lifecycle");
        assert_eq!(path(Some("/bin")), "/cnb/process:/cnb/lifecycle:/bin");
    }
}
