//! Layer protection: what happens when a buildpack changes what another one left (RFC pull request 155).

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{self, Outcome, Sandbox, skipped_without_root};

/// Leaves the layer `x`, and says that `reused` is still in the image of the build before.
const OWNER: &str = r#"
cd "$CNB_LAYERS_DIR"
mkdir -p x/sub
printf content > x/f
printf content > x/sub/g
printf '[types]\nlaunch = true\ncache = true\nbuild = true\n' > x.toml
printf '[types]\nlaunch = true\n' > reused.toml
printf '[metadata]\nk = 1\n' > store.toml
"#;

/// Changes a layer of its own that was restored.
const LATER: &str = r#"echo changed >> "$CNB_LAYERS_DIR/r/f"; printf '[types]\nbuild = true\n' > "$CNB_LAYERS_DIR/r.toml""#;

/// Buildpacks a/one, which leaves layers, b/two, which runs `culprit`, and c/three, which has a restored layer.
fn culprit(script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let script = script.replace("{app}", sandbox.path("app").to_str().expect("UTF-8"));
    let head = "A=$CNB_LAYERS_DIR/../a_one; C=$CNB_LAYERS_DIR/../c_three; L=$CNB_LAYERS_DIR; exec 2>&1";
    sandbox.buildpack("a/one", "exit 0", OWNER);
    sandbox.buildpack("b/two", "exit 0", &format!("{head}\n{script}\nexit 0"));
    sandbox.buildpack("c/three", "exit 0", LATER);
    let ids = ["a/one", "b/two", "c/three"];
    sandbox.order(&[&ids]);
    let element = |id| format!("[[group]]\nid = \"{id}\"\nversion = \"1.0\"\napi = \"0.12\"\n");
    sandbox.write("layers/group.toml", ids.map(element).concat());
    sandbox.write("layers/plan.toml", "");
    sandbox.write("layers/c_three/r/f", "restored");
    symlink(sandbox.path("layers/a_one"), sandbox.path("app/link")).expect("link");
    sandbox.own("layers");
    sandbox.own("app");
    sandbox
}

fn build(sandbox: &Sandbox, mode: &str) -> Outcome {
    sandbox.phase("builder").args(["-layer-protection", mode]).run()
}

/// What a buildpack may do to another one's layer: a script, what is said of it, and whether the kernel refuses it.
const WRITES: &[(&str, &str, bool)] = &[
    ("echo > $A/x/new", "layer 'a/one:x' changed while buildpack 'b/two' ran: 1 path (added x/new)", true),
    ("echo more >> $A/x/f", "layer 'a/one:x' changed while buildpack 'b/two' ran: 1 path (modified x/f)", true),
    ("truncate -s 0 $A/x/f", "1 path (modified x/f)", true),
    (
        "touch -r $A/x/f $L/ref; printf CONTENT > $A/x/f; touch -r $L/ref $A/x/f; cat $A/x/f",
        "ran: possibly 1 path (touched x/f)",
        false,
    ),
    ("rm -rf $A/x/sub", "2 paths (removed x/sub, removed x/sub/g)", true),
    ("mv $A/x/f $A/x/h", "2 paths (removed x/f, added x/h)", true),
    ("mv $A/x/f $L/h", "1 path (removed x/f)", true),
    ("chmod 700 $A/x/f", "1 path (modified x/f)", false),
    ("ln $A/x/f $L/linked", "possibly 1 path (touched x/f)", true),
    ("touch $A/x/f", "possibly 1 path (touched x/f)", false),
    ("mkfifo $A/x/fifo", "1 path (added x/fifo)", true),
    ("echo '[metadata]' >> $A/x.toml", "layer 'a/one:x' changed while buildpack 'b/two' ran: 1 path (modified x.toml)", true),
    ("mkdir $A/reused", "layer 'a/one:reused' changed while buildpack 'b/two' ran: 1 path (added reused)", true),
    ("echo >> $A/store.toml", "file 'store.toml' of buildpack 'a/one' changed while buildpack 'b/two' ran", true),
    ("echo > {app}/link/x/new", "1 path (added x/new)", true),
    ("echo > /proc/self/root$A/x/new", "1 path (added x/new)", true),
    ("mv $A {app}/", "layer 'a/one:x' changed while buildpack 'b/two' ran", true),
    ("echo more >> $C/r/f", "layer 'c/three:r' changed while buildpack 'b/two' ran: 1 path (modified r/f)", true),
    ("echo >> $L/../group.toml", "file 'group.toml' of the lifecycle changed while buildpack 'b/two' ran", true),
];

#[test]
fn warn_tells_of_every_kind_of_write_and_changes_nothing() {
    if skipped_without_root() {
        return;
    }
    for (script, message, _) in WRITES {
        let sandbox = culprit(script);
        build(&sandbox, "warn").success().says(message).says("The image gets what is there now.");
        let other = culprit(script);
        build(&other, "off").success().lacks("changed while");
        assert_eq!(sandbox.read("layers/config/metadata.toml"), other.read("layers/config/metadata.toml"), "{script}");
    }
}

#[test]
fn error_ends_the_build_after_the_buildpack() {
    if skipped_without_root() {
        return;
    }
    for (script, message, _) in WRITES {
        let sandbox = culprit(script);
        build(&sandbox, "error").code(53).says(message).says("ERROR: failed to build: buildpack 'b/two' changed");
        assert!(!sandbox.exists("layers/c_three/r.toml") && !sandbox.exists("layers/config/metadata.toml"), "{script}");
    }
}

#[test]
fn enforce_refuses_writes_and_detects_what_the_kernel_lets_pass() {
    if skipped_without_root() {
        return;
    }
    if build(&culprit(""), "enforce-strict").code == Some(53) {
        eprintln!("SKIP: this machine has no Landlock");
        return;
    }
    for (script, message, refused) in WRITES {
        let sandbox = culprit(script);
        let outcome = build(&sandbox, "enforce");
        if *refused {
            let outcome = outcome.success();
            assert!(!outcome.stdout.contains("changed while"), "{script}: {}", outcome.stdout);
            let told = ["ermission denied", "cross-device"].iter().any(|text| outcome.stdout.contains(text));
            assert!(told, "{script}: {}", outcome.stdout);
            assert_eq!(sandbox.read("layers/a_one/x/f"), "content", "{script}");
        } else {
            outcome.code(53).says(message);
        }
    }
}

#[test]
fn enforce_lets_a_buildpack_do_everything_else() {
    if skipped_without_root() {
        return;
    }
    let script = r#"set -ex
mkdir -p $L/own/deep; echo > $L/own/deep/f; mv $L/own/deep/f $L/own/g; ln $L/own/g $L/own/h; chmod 700 $L/own; rm -r $L/own/deep
echo > {app}/f; echo > $HOME/f; t=$(mktemp); echo > $t; mv $t $L/own/from-tmp; echo > /dev/null; echo shm > /dev/shm/lifecycle.$$; rm /dev/shm/lifecycle.$$
(echo out > /dev/stdout) | cat; cat $A/x/f; cp -r $A/x $L/copy; touch $L/own.toml; echo 0 > /proc/self/oom_score_adj
echo everything went"#;
    let sandbox = culprit(script);
    // New entries in a directory above the layers directory are refused; here that is /tmp.
    sandbox.write("platform/env/TMPDIR", sandbox.path("tmp").to_str().expect("UTF-8"));
    build(&sandbox, "enforce").success().says("everything went").lacks("changed while");
}

/// Mode bits mean nothing to root, the kernel's rules do.
#[test]
fn enforcement_holds_for_root() {
    if skipped_without_root() {
        return;
    }
    let sandbox = culprit("echo > $A/x/new; echo \"as $(id -u)\"");
    sandbox.run_image();
    sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nrm reused.toml"));
    let run =
        sandbox.creator().args(["-uid", "0", "-gid", "0", "-layer-protection", "enforce", "example.com/app"]).run().success();
    if run.stdout.contains("cannot be enforced") {
        return;
    }
    run.says("as 0").says("Permission denied").lacks("changed while");
    assert!(!sandbox.exists("layers/a_one/x/new"));
}

#[test]
fn a_buildpack_that_fails_under_enforcement_is_told_why() {
    if skipped_without_root() {
        return;
    }
    let sandbox = culprit("echo > $A/x/new || exit 7");
    let outcome = build(&sandbox, "enforce");
    if outcome.stdout.contains("cannot be enforced") {
        return;
    }
    outcome.code(51).says("Layer protection was enforced while buildpack 'b/two' ran").says("CNB_LAYER_PROTECTION_ALLOW");
}

#[test]
fn layers_can_be_opened_to_later_buildpacks() {
    if skipped_without_root() {
        return;
    }
    let script = "echo more >> $A/x/f; echo >> $A/x/new; rm $A/x/sub/g";
    for mode in ["error", "enforce"] {
        // By the platform; patterns are those of slices.
        let sandbox = culprit(script);
        let run = |sandbox: &Sandbox, allow: &str| {
            let run = sandbox.phase("builder").args(["-layer-protection", mode]);
            run.env("CNB_LAYER_PROTECTION_ALLOW", allow).env("CNB_EXPERIMENTAL_MODE", "silent").run()
        };
        run(&sandbox, "other:x,a/one:[x-z]").success().lacks("changed while");
        assert_eq!(sandbox.read("layers/a_one/x/f"), "contentmore\n");
        run(&culprit(script), "a/one:y,b/two:x").code(if mode == "error" { 53 } else { 0 });

        // By its buildpack.
        let sandbox = culprit(script);
        sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nprintf 'build-write = true\\n' >> x.toml"));
        run(&sandbox, "").success().lacks("changed while");
        assert_eq!(sandbox.read("layers/a_one/x/f"), "contentmore\n");
        // Its metadata stays protected.
        let sandbox = culprit("echo >> $A/x.toml");
        sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nprintf 'build-write = true\\n' >> x.toml"));
        run(&sandbox, "a/one:x").code(if mode == "error" { 53 } else { 0 });
    }
}

#[test]
fn build_write_counts_with_the_experimental_mode_only() {
    if skipped_without_root() {
        return;
    }
    let sandbox = culprit("echo > $A/x/new");
    sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nprintf 'build-write = true\\n' >> x.toml"));
    let run = sandbox.phase("builder").args(["-layer-protection", "error"]).unset("CNB_EXPERIMENTAL_MODE");
    run.run().code(53).says("layer 'a/one:x': [types] build-write is ignored");
}

#[test]
fn a_bad_value_is_an_invalid_argument() {
    if skipped_without_root() {
        return;
    }
    for mode in ["on", "WARN", "enforce_strict"] {
        build(&culprit(""), mode).code(3).says("enforce-strict");
    }
    let run = culprit("").phase("builder").env("CNB_LAYER_PROTECTION_ALLOW", "no-colon").run();
    assert_eq!(run.code, Some(3), "{}", run.stdout);
}

/// The image of a build with `discard` is the one that there would be without the culprit, diffIDs and cache included.
#[test]
fn discard_exports_what_the_owner_left() {
    if skipped_without_root() {
        return;
    }
    let sandbox = culprit("");
    sandbox.run_image();
    // Without an image of a build before there is nothing to reuse.
    sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nrm reused.toml"));
    let image = |script: &str, mode: &str| {
        let script = script.replace("{app}", sandbox.path("app").to_str().expect("UTF-8"));
        let head = "A=$CNB_LAYERS_DIR/../a_one; C=$CNB_LAYERS_DIR/../c_three; L=$CNB_LAYERS_DIR; exec 2>&1";
        sandbox.buildpack("b/two", "exit 0", &format!("{head}\n{script}\nexit 0"));
        for name in ["layers", "cache"] {
            fs::remove_dir_all(sandbox.path(name)).expect("remove");
            fs::create_dir(sandbox.path(name)).expect("create");
            sandbox.own(name);
        }
        let args = ["-layer-protection", mode, "-skip-restore", "-cache-dir"];
        let outcome = sandbox.creator().args(args).args([sandbox.path("cache")]).args(["example.com/app"]).run().success();
        assert!(!sandbox.exists("layers/@exported"), "nothing is left behind");
        let (config, _) = sandbox.layout_read("example.com/app");
        let label = config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"].as_str().expect("a label").to_owned();
        let metadata: serde_json::Value = serde_json::from_str(&label).expect("JSON");
        (metadata["buildpacks"][0].clone(), outcome)
    };
    let (clean, _) = image("", "off");
    let sha = clean["layers"]["x"]["sha"].as_str().expect("a diffID");
    for (script, message, _) in WRITES {
        // Without a restored layer there is nothing of c/three, and the creator passes its documents on by value.
        if script.contains("$C/") || script.contains("group.toml") || script.contains("mv $A ") {
            continue;
        }
        let (buildpack, outcome) = image(script, "discard");
        assert_eq!(buildpack, clean, "{script}");
        assert!(sandbox.exists(&format!("cache/committed/{sha}.tar")), "{script}: the cache lacks {sha}");
        // What leaves the content as it was is no change.
        if ["touch $A", "ln "].iter().any(|same| script.starts_with(same)) {
            outcome.lacks("changed while");
        } else {
            outcome.says(message).says("The image gets what its owner left.");
        }
    }
    let (buildpack, _) = image("echo more >> $A/x/f", "warn");
    assert_ne!(buildpack, clean, "without discard the image gets what is there");
}

/// When the phases run one by one, the exporter uses what the builder kept, if it is asked to.
#[test]
fn discard_works_across_processes() {
    if skipped_without_root() {
        return;
    }
    let sandbox = culprit("echo more >> $A/x/f");
    sandbox.buildpack("a/one", "exit 0", &format!("{OWNER}\nrm reused.toml"));
    sandbox.run_image();
    let image = sandbox.path("layout/example.com/run/latest");
    let analyzed = format!("[run-image]\nreference = \"{}\"\nimage = \"example.com/run\"\n", image.display());
    sandbox.write("layers/analyzed.toml", analyzed);
    sandbox.own("layers");
    build(&sandbox, "discard").success().says("The image gets what its owner left.");
    assert!(sandbox.exists("layers/@exported/a_one/x.tar"));
    let export = |mode: &str, name: &str| {
        let run =
            sandbox.phase("exporter").args(["-layout", "-layer-protection", mode, "-layout-dir"]).args([sandbox.path("layout")]);
        run.args(["-launcher"]).args([sandbox.path("cnb/launcher")]).args([name])
    };
    let sha = |name: &str| {
        let (config, _) = sandbox.layout_read(name);
        let label = config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"].as_str().expect("a label").to_owned();
        let label: serde_json::Value = serde_json::from_str(&label).expect("JSON");
        label["buildpacks"][0]["layers"]["x"]["sha"].as_str().expect("a diffID").to_owned()
    };
    let kept = support::sha256(&fs::read(sandbox.path("layers/@exported/a_one/x.tar")).expect("the kept layer"));
    export("off", "example.com/off").run().success();
    assert_ne!(sha("example.com/off"), format!("sha256:{kept}"));
    export("discard", "example.com/other").env("CNB_USER_ID", "1234").run().code(62).says("kept layer 'x' for user 65534:65534");
    export("discard", "example.com/discard").run().success();
    assert_eq!(sha("example.com/discard"), format!("sha256:{kept}"));
    assert!(!sandbox.exists("layers/@exported"));
}
