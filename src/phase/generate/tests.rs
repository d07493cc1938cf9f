//! Generation as the specification describes it, with shell scripts for bin/generate.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::api::ApiVersion;
use crate::data::build_plan::Require;
use crate::data::plan::PlanEntry;
use crate::data::run::RunImageForExport;

/// Extensions in a temporary directory, in the order in which they were added.
struct Builder {
    dir: tempfile::TempDir,
    extensions: Vec<GroupElement>,
    plan: Plan,
}

impl Builder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["app", "generated"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, extensions: Vec::new(), plan: Plan::default() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    fn without_program(mut self, id: &str) -> Self {
        let dir = format!("extensions/{}/1", escape(id));
        self.write(&format!("{dir}/extension.toml"), &format!("api = \"0.10\"\n[extension]\nid = \"{id}\"\nversion = \"1\"\n"));
        self.extensions.push(GroupElement { id: id.into(), version: "1".into(), ..GroupElement::default() });
        self
    }

    fn extension(self, id: &str, script: &str) -> Self {
        let bin = self.dir.path().join(format!("extensions/{}/1/bin", escape(id)));
        fs::create_dir_all(&bin).unwrap();
        // By another process: see the tests of detection.
        let mut install = Command::new("install");
        let mut install =
            install.args(["-m", "755", "/dev/stdin"]).arg(bin.join("generate")).stdin(Stdio::piped()).spawn().unwrap();
        write!(install.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
        assert!(install.wait().unwrap().success());
        self.without_program(id)
    }

    fn generate(&self, api: u64, analyzed: &Analyzed) -> Result<(Analyzed, Plan)> {
        let run = RunToml { images: vec![RunImageForExport { image: "known/run".into(), mirrors: Vec::new() }] };
        let inputs = Inputs {
            api: PlatformApi::supported(ApiVersion::new(0, api)).unwrap(),
            store: &Store { extensions: self.dir.path().join("extensions"), ..Store::default() },
            surroundings: &Surroundings {
                app: self.dir.path().join("app"),
                platform: self.dir.path().join("platform"),
                ..Surroundings::default()
            },
            env: &Env::for_build(&[("PATH".into(), "/usr/bin:/bin".into())].into()),
            generated_dir: self.dir.path().join("generated"),
            extensions: &self.extensions,
            run: &run,
        };
        crate::log::capture(|| generate(&inputs, analyzed, &self.plan)).0
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.dir.path().join(path).exists()
    }
}

fn escape(id: &str) -> String {
    crate::layers::dir::escape_id(id)
}

fn original() -> Analyzed {
    let target = crate::data::target::TargetMetadata { os: "linux".into(), arch: "arm64".into(), ..Default::default() };
    let run_image = RunImage { reference: "old@sha256:1".into(), image: "old".into(), extend: false, target: Some(target) };
    Analyzed { run_image: Some(run_image), ..Analyzed::default() }
}

const EXTEND_RUN: &str = "printf 'ARG base_image\\nFROM ${base_image}\\nRUN x\\n' > \"$1/run.Dockerfile\"";

/// image_extension.md: bin/generate gets `<output>`, `<platform>`, `<plan>`, also as variables; `CNB_EXTENSION_DIR` MUST be
/// the root of the extension; and the targets.
#[test]
fn inputs_of_bin_generate() {
    let script = "printf '%s\\n' \"$@\" \"$CNB_OUTPUT_DIR\" \"$CNB_PLATFORM_DIR\" \"$CNB_BP_PLAN_PATH\" \"$CNB_EXTENSION_DIR\" \
                  \"$CNB_TARGET_ARCH\" \"${CNB_LAYERS_DIR-none}\" \"${CNB_BUILDPACK_DIR-none}\" > inputs; cat \"$3\" > plan";
    let mut builder = Builder::new().extension("a/b", script);
    let provider = GroupElement { extension: true, ..builder.extensions[0].clone() };
    let require = |name: &str| Require { name: name.into(), ..Require::default() };
    builder.plan.entries = vec![
        PlanEntry { providers: vec![provider], requires: vec![require("met")] },
        PlanEntry { providers: vec![GroupElement { id: "a/b".into(), ..Default::default() }], requires: vec![require("open")] },
    ];
    let (_, plan) = builder.generate(13, &original()).unwrap();
    let root = builder.dir.path().display().to_string();
    let inputs = builder.read("app/inputs").replace(&root, "ROOT");
    let lines: Vec<&str> = inputs.lines().collect();
    assert_eq!(lines[..2], ["ROOT/generated/a_b", "ROOT/platform"]);
    assert_eq!(lines[3..5], lines[..2]);
    assert_eq!(lines[5], lines[2]);
    assert_eq!(lines[6..], ["ROOT/extensions/a_b/1", "arm64", "none", "none"]);
    // "MUST provide all <plan> entries that were required … with names matching the names that the image extension provided"
    assert_eq!(builder.read("app/plan"), "[[entries]]\n  name = \"met\"\n");
    // platform.md: "SHALL filter the build plan with dependencies provided by image extensions".
    assert_eq!(plan.entries.len(), 1);
    assert_eq!(plan.entries[0].requires[0].name, "open");
}

/// platform.md, outputs of the detector: `<generated>/<kind>/<id>/Dockerfile` before Platform API 0.13,
/// `<generated>/<id>/<kind>.Dockerfile` from then on.
#[test]
fn where_dockerfiles_are() {
    let script = format!(
        "{EXTEND_RUN}; printf 'ARG base_image\\nFROM ${{base_image}}\\n' > \"$1/build.Dockerfile\"; echo > \"$1/extend-config.toml\""
    );
    let builder = Builder::new().extension("a/b", &script);
    builder.generate(12, &original()).unwrap();
    for name in ["run/a_b/Dockerfile", "run/a_b/extend-config.toml", "build/a_b/Dockerfile", "build/a_b/extend-config.toml"] {
        assert!(builder.exists(&format!("generated/{name}")), "{name}");
    }
    assert!(!builder.exists("generated/a_b"));
    builder.generate(13, &original()).unwrap();
    for name in ["a_b/run.Dockerfile", "a_b/build.Dockerfile", "a_b/extend-config.toml"] {
        assert!(builder.exists(&format!("generated/{name}")), "{name}");
    }
}

/// image_extension.md: without bin/generate the extension's `generate` directory MUST be treated as its outputs.
#[test]
fn outputs_that_lie_prepared() {
    let builder = Builder::new().without_program("e");
    builder.write("extensions/e/1/generate/run.Dockerfile", "ARG base_image\nFROM ${base_image}\nRUN x\n");
    let (analyzed, _) = builder.generate(12, &original()).unwrap();
    assert!(analyzed.run_image.unwrap().extend);
    assert!(builder.exists("generated/run/e/Dockerfile"));
}

/// platform.md: "If all run.Dockerfiles declare FROM ${base_image}, the selected run image SHALL be the original run image in
/// <analyzed>, with extend = true".
#[test]
fn the_run_image_is_extended() {
    let (analyzed, _) = Builder::new().extension("a", EXTEND_RUN).generate(12, &original()).unwrap();
    let expected = RunImage { extend: true, ..original().run_image.unwrap() };
    assert_eq!(analyzed.run_image, Some(expected));
}

/// platform.md: "Else the selected run image SHALL be the last image referenced …"; its target is cleared, and those before
/// it get the suffix `.ignore`.
#[test]
fn the_run_image_is_another_one() {
    let switch = "echo FROM known/run > \"$1/run.Dockerfile\"";
    for (api, ignored) in [(12, "generated/run/first/Dockerfile.ignore"), (13, "generated/first/run.Dockerfile.ignore")] {
        let builder = Builder::new().extension("first", EXTEND_RUN).extension("last", switch);
        let (analyzed, _) = builder.generate(api, &original()).unwrap();
        let run_image = RunImage { reference: "known/run".into(), image: "known/run".into(), extend: false, target: None };
        assert_eq!(analyzed.run_image, Some(run_image));
        assert!(builder.exists(ignored), "{ignored}");
    }
    let (analyzed, _) = Builder::new().extension("a", switch).extension("b", EXTEND_RUN).generate(12, &original()).unwrap();
    assert!(analyzed.run_image.unwrap().extend);
    let same = "echo FROM old > \"$1/run.Dockerfile\"";
    assert_eq!(Builder::new().extension("a", same).generate(12, &original()).unwrap().0, original());
}

/// image_extension.md: a bin/generate that fails MUST fail the build: exit 91; what it must not write is exit 92.
#[test]
fn failures() {
    let failure = |script: &str| {
        let error = Builder::new().extension("e", script).generate(13, &original()).unwrap_err();
        (error.failure().unwrap(), error.to_string())
    };
    assert_eq!(failure("exit 7"), (Failure::ExtensionGenerate, "exit status 7".into()));
    assert_eq!(failure("kill -9 $$"), (Failure::ExtensionGenerate, "signal: killed".into()));
    let multistage = "printf 'FROM a\\nFROM b\\n' > \"$1/run.Dockerfile\"";
    let text = "failed to parse run.Dockerfile for extension e: run.Dockerfile is not permitted to use multistage build";
    assert_eq!(failure(multistage), (Failure::Generate, text.into()));
    assert_eq!(failure("mkdir \"$1/context\" \"$1/context.run\"").0, Failure::Generate);
    assert_eq!(failure("printf '[[run.args]]\\nname = \"user_id\"\\n' > \"$1/extend-config.toml\"").0, Failure::Generate);
}

#[test]
fn nothing_is_left_in_the_temporary_directory() {
    let script = "dirname \"$3\" > plan-dir; dirname \"$1\" > output-dir";
    let builder = Builder::new().extension("e", script);
    builder.generate(12, &original()).unwrap();
    for name in ["app/plan-dir", "app/output-dir"] {
        assert!(!Path::new(builder.read(name).trim()).exists(), "{name}");
    }
}

fn run_dockerfile(extension: &str, image: Option<&str>, extends: bool) -> Generated {
    let path = PathBuf::from(extension);
    Generated { extension: extension.into(), kind: Kind::Run, path, image: image.map(str::to_owned), extends, is_ignored: false }
}

/// image_extension.md, "run.Dockerfile": the last one that sets the base image counts, with all that come after it.
#[test]
fn the_last_run_image_counts_and_what_was_before_is_ignored() {
    let mut dockerfiles = [
        run_dockerfile("a", None, true),
        run_dockerfile("b", Some("first"), false),
        Generated { kind: Kind::Build, ..run_dockerfile("c", None, true) },
        run_dockerfile("d", Some("second"), false),
        run_dockerfile("e", None, true),
    ];
    let choice = choose_run_image(&mut dockerfiles);
    assert_eq!(choice, RunImageChoice { image: Some("second".into()), extend: true });
    assert_eq!(dockerfiles.each_ref().map(|d| d.is_ignored), [true, true, false, false, false]);
}

#[test]
fn an_ignored_extension_of_the_run_image_does_not_count() {
    let mut dockerfiles = [run_dockerfile("a", None, true), run_dockerfile("b", Some("x"), false)];
    assert_eq!(choose_run_image(&mut dockerfiles), RunImageChoice { image: Some("x".into()), extend: false });
    assert_eq!(choose_run_image(&mut []), RunImageChoice::default());
}
