//! Detection as the specification describes it, with shell scripts for bin/detect.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::*;
use crate::api::ApiVersion;
use crate::data::target::TargetMetadata;

/// A builder's directories in a temporary directory.
struct Builder {
    dir: tempfile::TempDir,
    exec_env: String,
    api: u64,
    order: String,
}

impl Builder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        Self { dir, exec_env: "production".into(), api: 15, order: String::new() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }

    /// Another process writes the file: while this one has it open, a child that another test starts at the same moment would
    /// inherit it, and running it would fail with "text file busy".
    fn script(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut install =
            Command::new("install").args(["-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
        install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
    }

    /// A buildpack with a script; each run adds a line with its id to `<app>/ran`.
    fn buildpack(self, id: &str, script: &str, more: &str) -> Self {
        let dir = format!("buildpacks/{id}/1");
        self.write(
            &format!("{dir}/buildpack.toml"),
            &format!("api = \"0.12\"\n[buildpack]\nid = \"{id}\"\nversion = \"1\"\n{more}"),
        );
        self.script(&format!("{dir}/bin/detect"), &format!("#!/bin/sh\necho {id} >> ran\n{script}\n"));
        self.script(&format!("{dir}/bin/build"), "#!/bin/sh\n");
        self
    }

    /// A composite buildpack; its groups as [`Self::order`].
    fn composite(self, id: &str, groups: &[&str], more: &str) -> Self {
        let order = groups.iter().map(|g| group("order", g)).collect::<String>();
        let text = format!("api = \"0.12\"\n[buildpack]\nid = \"{id}\"\nversion = \"1\"\n{more}\n{order}");
        self.write(&format!("buildpacks/{id}/1/buildpack.toml"), &text);
        self
    }

    fn extension(self, id: &str, plan: &str) -> Self {
        self.write(
            &format!("extensions/{id}/1/extension.toml"),
            &format!("api = \"0.10\"\n[extension]\nid = \"{id}\"\nversion = \"1\"\n"),
        );
        self.write(&format!("extensions/{id}/1/detect/plan.toml"), plan);
        self
    }

    /// A group of the order: ids, `?` for optional ones, `!test` at the end for an execution environment.
    fn order(mut self, ids: &str) -> Self {
        self.order.push_str(&group("order", ids));
        self
    }

    fn extensions(mut self, ids: &str) -> Self {
        self.order.push_str(&group("order-extensions", ids));
        self
    }

    fn detect(&self) -> Result<Detected> {
        self.detect_for(TargetMetadata { os: "linux".into(), arch: "amd64".into(), ..TargetMetadata::default() })
    }

    fn detect_for(&self, target: TargetMetadata) -> Result<Detected> {
        let path = |name: &str| self.dir.path().join(name);
        self.write("order.toml", &self.order);
        let _ = fs::remove_file(path("app/ran"));
        let inputs = Inputs {
            api: PlatformApi::supported(ApiVersion::new(0, self.api)).unwrap(),
            store: Store { buildpacks: path("buildpacks"), extensions: path("extensions") },
            order_path: path("order.toml"),
            system_path: path("system.toml"),
            surroundings: Surroundings {
                app: path("app"),
                platform: path("platform"),
                exec_env: self.exec_env.clone(),
                ..Surroundings::default()
            },
            env: Env::for_build(&[("PATH".into(), "/usr/bin:/bin".into())].into()),
        };
        let run_image = crate::data::analyzed::RunImage { target: Some(target), ..Default::default() };
        let analyzed = Analyzed { run_image: Some(run_image), ..Analyzed::default() };
        // Messages are not of interest here.
        crate::log::capture(|| Detector::new(inputs, &analyzed)?.detect()).0
    }

    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("app/ran")).unwrap_or_default();
        let mut ids: Vec<_> = text.lines().map(str::to_owned).collect();
        ids.sort();
        ids
    }
}

fn group(table: &str, ids: &str) -> String {
    let mut text = format!("[[{table}]]\ngroup = [");
    for id in ids.split_whitespace() {
        let (id, exec_env) = id.split_once('!').map_or((id, None), |(id, exec_env)| (id, Some(exec_env)));
        let (id, optional) = id.strip_suffix('?').map_or((id, false), |id| (id, true));
        let exec_env = exec_env.map_or(String::new(), |e| format!(", exec-env = [\"{e}\"]"));
        text.push_str(&format!("{{ id = \"{id}\", version = \"1\", optional = {optional}{exec_env} }}, "));
    }
    text + "]\n"
}

/// Ids of the group, extensions first.
fn ids(detected: &Detected) -> Vec<&str> {
    detected.group.extensions.iter().chain(&detected.group.group).map(|e| e.id.as_str()).collect()
}

fn failure(result: Result<Detected>) -> Failure {
    result.unwrap_err().failure().unwrap()
}

fn provides(name: &str) -> String {
    format!("[[provides]]\nname = \"{name}\"\n")
}

fn requires(name: &str) -> String {
    format!("[[requires]]\nname = \"{name}\"\n")
}

/// A script that writes this plan.
fn plan(text: &str) -> String {
    format!("cat > \"$CNB_BUILD_PLAN_PATH\" <<'EOF'\n{text}EOF")
}

/// buildpack.md, "Phase #1: Detection": a required buildpack that does not pass → MUST proceed to the next group; the
/// group MUST be filtered to those with exit status zero, order MUST be preserved.
#[test]
fn the_first_group_that_passes() {
    let builder = Builder::new()
        .buildpack("pass", "", "")
        .buildpack("more", "", "")
        .buildpack("fail", "exit 100", "")
        .buildpack("error", "exit 1", "");
    let run =
        |groups: &[&str]| groups.iter().fold(Builder { order: String::new(), ..builder.sharing() }, |b, g| b.order(g)).detect();
    assert_eq!(ids(&run(&["fail pass", "more pass"]).unwrap()), ["more", "pass"]);
    assert_eq!(ids(&run(&["fail? more error? pass"]).unwrap()), ["more", "pass"]);
    // "MUST proceed to the next group or fail detection completely if no more groups are present"
    assert_eq!(failure(run(&["fail pass", "pass fail"])), Failure::NoGroup);
    assert_eq!(failure(run(&["error pass", "fail"])), Failure::NoGroupWithErrors);
    // "no exit statuses from buildpack bin/detect in the group are zero"
    assert_eq!(failure(run(&["fail?"])), Failure::NoGroup);
    assert_eq!(failure(run(&[])), Failure::NoGroup);
}

impl Builder {
    /// The same modules with another order.
    fn sharing(&self) -> Self {
        let copy = Self::new();
        let status = Command::new("cp").arg("-r").args([&self.dir.path().join("buildpacks"), copy.dir.path()]).status();
        assert!(status.unwrap().success());
        copy
    }
}

/// buildpack.md, "Order Resolution": nested orders in place, depth first, left to right.
#[test]
fn orders_within_orders() {
    let modules = || {
        let fail = "exit 100";
        let builder =
            Builder::new().buildpack("A", fail, "").buildpack("B", "", "").buildpack("C", "", "").buildpack("D", "", "");
        let builder = builder.buildpack("E", "", "").buildpack("F", "", "").buildpack("G", "", "").buildpack("H", fail, "");
        builder.composite("O", &["A B", "C D"], "").composite("P", &["G H", "E F"], "").composite("N", &["E O F"], "")
    };
    assert_eq!(ids(&modules().order("E O F").detect().unwrap()), ["E", "C", "D", "F"]);
    assert_eq!(ids(&modules().order("O P").detect().unwrap()), ["C", "D", "E", "F"]);
    assert_eq!(ids(&modules().order("N G").detect().unwrap()), ["E", "C", "D", "F", "G"]);
    // The first of several with the same id counts.
    assert_eq!(ids(&modules().order("D O D").detect().unwrap()), ["D", "C"]);
    assert_eq!(failure(modules().composite("X", &["A"], "").order("B X").detect()), Failure::NoGroup);
}

/// buildpack.md: "a copy of the group without the entry MUST be repeated after the original group"
#[test]
fn optional_orders_may_be_left_out() {
    let builder = Builder::new().buildpack("a", "", "").buildpack("b", "exit 100", "").composite("o", &["b"], "").order("a o?");
    assert_eq!(ids(&builder.detect().unwrap()), ["a"]);
}

/// buildpack.md: composite buildpacks "MUST be resolvable into a collection of component buildpacks".
#[test]
fn an_order_that_contains_itself() {
    let builder = Builder::new().composite("a", &["b"], "").composite("b", &["c", "a"], "").buildpack("c", "exit 100", "");
    let error = builder.order("a").detect().unwrap_err();
    assert_eq!(error.failure(), Some(Failure::Detect));
    assert_eq!(error.to_string(), "the order of buildpack a@1 contains itself: a@1 -> b@1 -> a@1");
    // The same order twice, one beside the other, is fine.
    let builder = Builder::new().composite("o", &["a"], "").composite("p", &["o"], "").buildpack("a", "", "").order("o p o");
    assert_eq!(ids(&builder.detect().unwrap()), ["a"]);
}

#[test]
fn each_bin_detect_runs_once() {
    let builder = Builder::new().buildpack("a", "", "").buildpack("b", "exit 100", "").buildpack("c", "", "");
    let builder = builder.order("a b").order("a b c").order("c a");
    assert_eq!(ids(&builder.detect().unwrap()), ["c", "a"]);
    assert_eq!(builder.ran(), ["a", "b", "c"]);
}

/// buildpack.md: "The lifecycle MAY execute each /bin/detect within a group in parallel": two that wait for each other.
#[test]
fn bin_detect_of_a_group_run_at_the_same_time() {
    let meet = |own: &str, other: &str| {
        format!("touch {own}; for i in $(seq 500); do [ -e {other} ] && exit 0; sleep 0.01; done; exit 1")
    };
    let builder = Builder::new().buildpack("a", &meet("x", "y"), "").buildpack("b", &meet("y", "x"), "").order("a b");
    assert_eq!(ids(&builder.detect().unwrap()), ["a", "b"]);
}

/// buildpack.md, "For each trial": the five rules on what is provided and required.
#[test]
fn build_plans() {
    type Case<'a> = (&'a str, &'a [(&'a str, String)], Option<&'a [&'a str]>);
    let cases: &[Case<'_>] = &[
        ("provided before it is required", &[("a", provides("x")), ("b", requires("x"))], Some(&["a", "b"])),
        ("provided and required by the same", &[("a", provides("x") + &requires("x"))], Some(&["a"])),
        ("a required one provides what nobody requires", &[("a", provides("x")), ("b", String::new())], None),
        ("a required one requires what nobody provides", &[("a", requires("x")), ("b", String::new())], None),
        ("required before it is provided", &[("a", requires("x")), ("b", provides("x"))], None),
        ("an optional one provides what nobody requires", &[("a?", provides("x")), ("b", String::new())], Some(&["b"])),
        ("an optional one requires what nobody provides", &[("a?", requires("x")), ("b", String::new())], Some(&["b"])),
        (
            "leaving one out takes away what another requires",
            &[("a?", provides("x") + &requires("y")), ("b", requires("x"))],
            None,
        ),
        (
            "leaving one out leaves another without use",
            &[("a?", provides("x")), ("b?", requires("x") + &requires("y")), ("c", String::new())],
            Some(&["c"]),
        ),
        (
            "several provide and require it",
            &[("a", provides("x")), ("b", provides("x")), ("c", requires("x")), ("d", requires("x"))],
            Some(&["a", "b", "c", "d"]),
        ),
    ];
    for (what, modules, expected) in cases {
        let order = modules.iter().map(|(id, _)| *id).collect::<Vec<_>>().join(" ");
        let builder = modules.iter().fold(Builder::new(), |b, (id, text)| b.buildpack(id.trim_end_matches('?'), &plan(text), ""));
        let result = builder.order(&order).detect();
        assert_eq!(result.as_ref().ok().map(ids), expected.map(<[&str]>::to_vec), "{what}");
    }
}

/// buildpack.md: "a sequence of trials is generated … in a left-to-right, depth-first order".
#[test]
fn alternatives_of_plans() {
    let either = format!("{}[[or]]\n[[or.provides]]\nname = \"y\"\n", provides("x"));
    let modules = || Builder::new().buildpack("a", &plan(&either), "").buildpack("x", &plan(&requires("x")), "");
    let modules = || modules().buildpack("y", &plan(&requires("y")), "").buildpack("z", "", "");
    let names = |d: &Detected| d.plan.entries.iter().map(|e| e.requires[0].name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&modules().order("a x").detect().unwrap()), ["x"]);
    assert_eq!(names(&modules().order("a y").detect().unwrap()), ["y"]);
    // An optional module is left out when none of its alternatives fits.
    assert_eq!(ids(&modules().order("a? z").detect().unwrap()), ["z"]);
    assert_eq!(failure(modules().order("a z").detect()), Failure::NoGroup);
}

#[test]
fn the_plan_names_providers_and_requirements() {
    let require = "[[requires]]\nname = \"x\"\n[requires.metadata]\nversion = \"1\"\n";
    let builder = Builder::new().buildpack("a", &plan(&provides("x")), "homepage = \"h\"").buildpack("b", &plan(require), "");
    let detected = builder.order("a b?").detect().unwrap();
    assert_eq!(
        detected.plan.to_toml().unwrap(),
        "[[entries]]\n\n  [[entries.providers]]\n    id = \"a\"\n    version = \"1\"\n\n  [[entries.requires]]\n    name = \"x\"\n    \
         [entries.requires.metadata]\n      version = \"1\"\n"
    );
    assert_eq!(
        detected.group.to_toml().unwrap(),
        "[[group]]\n  id = \"a\"\n  version = \"1\"\n  api = \"0.12\"\n  homepage = \"h\"\n\n[[group]]\n  id = \"b\"\n  version = \
         \"1\"\n  api = \"0.12\"\n"
    );
}

/// buildpack.md, "Build Plan": a version at the top level is an error, and so is a plan that cannot be read.
#[test]
fn plans_that_are_refused() {
    for text in [
        "[[requires]]\nname = \"x\"\nversion = \"1\"\n",
        "[[provides]\n",
        "provides = 1\n",
        "[[or]]\n[[or.requires]]\nversion = \"1\"\n",
    ] {
        let builder = Builder::new().buildpack("a", &plan(text), "").buildpack("b", "", "");
        assert_eq!(ids(&builder.order("a? b").detect().unwrap()), ["b"], "{text}");
        let builder = Builder::new().buildpack("a", &plan(text), "").order("a");
        assert_eq!(failure(builder.detect()), Failure::NoGroupWithErrors, "{text}");
    }
}

#[test]
fn programs_that_cannot_run_or_are_killed_are_errors() {
    for script in ["kill -9 $$", "exit 99", "exit 101"] {
        assert_eq!(
            failure(Builder::new().buildpack("a", script, "").order("a").detect()),
            Failure::NoGroupWithErrors,
            "{script}"
        );
    }
    let builder = Builder::new().buildpack("a", "", "").order("a");
    fs::set_permissions(builder.dir.path().join("buildpacks/a/1/bin/detect"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(failure(builder.detect()), Failure::NoGroupWithErrors);
}

/// image_extension.md: extensions MUST always be optional, without bin/detect their detect directory counts, they MUST NOT
/// require anything; buildpack.md: their order MUST be prepended to the order of buildpacks.
#[test]
fn extensions() {
    let modules = || Builder::new().buildpack("b", &plan(&requires("x")), "").buildpack("plain", "", "");
    let modules =
        || modules().extension("e", &provides("x")).extension("unused", &provides("y")).extension("bad", &requires("x"));
    let detected = modules().extensions("bad unused e").order("b").detect().unwrap();
    assert_eq!(ids(&detected), ["e", "b"]);
    assert!(detected.plan.entries[0].providers[0].extension);
    assert_eq!(detected.plan.requires_for("e", true).len(), 1);
    assert_eq!(ids(&modules().extensions("unused").extensions("e").order("b").detect().unwrap()), ["e", "b"]);
    assert_eq!(ids(&modules().extensions("e").order("plain").detect().unwrap()), ["plain"]);
    // "at least one exit status from a buildpack bin/detect": extensions alone are no group.
    let builder = Builder::new().buildpack("b", "exit 100", "").extension("e", "").extensions("e").order("b?");
    assert_eq!(failure(builder.detect()), Failure::NoGroup);
}

/// buildpack.md: a non-optional buildpack without a matching target MUST fail detection for the group.
#[test]
fn targets() {
    let arm = "[[targets]]\nos = \"linux\"\narch = \"arm64\"\n";
    let modules = || Builder::new().buildpack("arm", "", arm).buildpack("any", "", "").order("arm any").order("any");
    let builder = modules();
    assert_eq!(ids(&builder.detect().unwrap()), ["any"]);
    assert_eq!(builder.ran(), ["any"]);
    let target = TargetMetadata { os: "linux".into(), arch: "arm64".into(), ..TargetMetadata::default() };
    assert_eq!(ids(&modules().detect_for(target).unwrap()), ["arm", "any"]);
    // Not before Platform API 0.12, and not for optional buildpacks (spec-and-reference.md B28).
    assert_eq!(ids(&Builder { api: 11, ..modules() }.detect().unwrap()), ["arm", "any"]);
    let optional = Builder::new().buildpack("arm", "", arm).order("arm?");
    assert_eq!(ids(&optional.detect().unwrap()), ["arm"]);
}

/// platform.md: "SHALL skip buildpacks that do not support the current execution environment"; spec-and-reference.md A4, A5:
/// also by their element of an order, and all of a composite buildpack.
#[test]
fn execution_environments() {
    let modules = || Builder::new().buildpack("a", "", "").buildpack("b", "", "").buildpack("own", "", "exec-env = [\"test\"]");
    let modules = || modules().composite("part", &["a!test b!production"], "").composite("all", &["b"], "exec-env = [\"test\"]");
    let in_env = |exec_env: &str, order: &str| Builder { exec_env: exec_env.into(), ..modules() }.order(order).detect();
    for (order, production, test) in [
        ("a own", &["a"][..], &["a", "own"][..]),
        ("a b!test", &["a"], &["a", "b"]),
        ("part", &["b"], &["a"]),
        ("a all", &["a"], &["a", "b"]),
    ] {
        assert_eq!(ids(&in_env("production", order).unwrap()), production, "{order}");
        assert_eq!(ids(&in_env("test", order).unwrap()), test, "{order}");
    }
    // "If all buildpacks in a group are skipped …, the lifecycle SHALL continue to the next group"
    assert_eq!(ids(&modules().order("own").order("a").detect().unwrap()), ["a"]);
    assert_eq!(failure(in_env("production", "all")), Failure::NoGroup);
    assert_eq!(ids(&Builder { api: 14, ..modules() }.order("own all").detect().unwrap()), ["own", "b"]);
}

/// platform.md: `system.pre` and `system.post` around every group, from Platform API 0.15 on.
#[test]
fn system_buildpacks() {
    let modules = |api| {
        let builder = Builder { api, ..Builder::new() }.buildpack("a", "", "").buildpack("pre", "", "").buildpack("post", "", "");
        builder.write("system.toml", "[[system.pre.buildpacks]]\nid = \"pre\"\nversion = \"1\"\n[[system.post.buildpacks]]\nid = \"post\"\nversion = \"1\"\n");
        builder
    };
    assert_eq!(ids(&modules(15).order("a").detect().unwrap()), ["pre", "a", "post"]);
    assert_eq!(ids(&modules(14).order("a").detect().unwrap()), ["a"]);
}

#[test]
fn what_cannot_be_detected_with_is_refused_at_once() {
    let error = Builder::new().order("missing").detect().unwrap_err();
    assert!(error.to_string().ends_with("buildpacks/missing/1/buildpack.toml: no such file or directory"), "{error}");
    let builder = Builder::new().buildpack("a", "", "").order("a");
    let toml = builder.dir.path().join("buildpacks/a/1/buildpack.toml");
    fs::write(&toml, fs::read_to_string(&toml).unwrap().replace("0.12", "0.99")).unwrap();
    assert_eq!(failure(builder.detect()), Failure::BuildpackApi);
    assert!(!builder.dir.path().join("app/ran").exists());
}

/// buildpack.md: ids MUST NOT be `app`, `config`, `generated`, or `sbom` (spec-and-reference.md A8).
#[test]
fn reserved_ids() {
    assert_eq!(failure(Builder::new().buildpack("config", "", "").order("config").detect()), Failure::Detect);
}
