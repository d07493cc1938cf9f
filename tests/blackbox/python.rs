//! The case that layer protection is about: an interpreter in a layer of one buildpack, used by another. CPython writes
//! `.pyc` files beside the modules that it imports, and `pip install` writes into the interpreter's own directories.

use std::process::Command;

use crate::support::{Outcome, Sandbox, skipped_without_root};

/// Puts CPython into a layer.
const INTERPRETER: &str = r#"
set -e
mkdir -p "$CNB_LAYERS_DIR/python/env"
cp -R "$CPYTHON/." "$CNB_LAYERS_DIR/python/"
printf %s "$CNB_LAYERS_DIR/python" > "$CNB_LAYERS_DIR/python/env/PYTHONHOME.override"
printf '[types]\nlaunch = true\nbuild = true\ncache = true\n' > "$CNB_LAYERS_DIR/python.toml"
"#;

/// Copies an interpreter and its standard library, without what only bloats the test.
const COPY: &str = r#"
set -e
mkdir -p "$TO/bin" "$TO/lib/$(basename "$STDLIB")"
cp "$PYTHON" "$TO/bin/python3"
cd "$STDLIB"
tar -c --exclude=__pycache__ --exclude=./test --exclude=./idlelib --exclude=./tkinter --exclude=site-packages \
  --exclude=dist-packages --exclude='./config-*' --exclude='*.a' . | tar -x --no-same-owner -C "$TO/lib/$(basename "$STDLIB")"
chmod -R a+rX "$TO"
"#;

/// Imports modules, then installs a wheel with the pip that is bundled with the interpreter, where there is one.
const USER: &str = r#"
exec 2>&1
python3 -c 'import json, email.message, http.client; print("imported by", json.__file__)'
cat > "$TMPDIR/wheel.py" <<'P'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as w:
    w.writestr("hello_lifecycle.py", "print('hello from a wheel')\n")
    w.writestr("hello_lifecycle-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello-lifecycle\nVersion: 1\n")
    w.writestr("hello_lifecycle-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    w.writestr("hello_lifecycle-1.dist-info/RECORD", "")
P
python3 "$TMPDIR/wheel.py" "$TMPDIR/hello_lifecycle-1-py3-none-any.whl"
pip=$(ls "$PYTHONHOME"/lib/python3*/ensurepip/_bundled/pip-*.whl 2>/dev/null)
[ -n "$pip" ] || { echo "no pip"; exit 0; }
if PYTHONPATH=$pip python3 -m pip install --no-index --no-deps --quiet "$TMPDIR/hello_lifecycle-1-py3-none-any.whl" $PIP_MORE; then
  echo "pip installed it"
else
  echo "pip failed"
fi
exit 0
"#;

/// `None` without a CPython that has its standard library; one that brings pip is preferred.
fn sandbox() -> Option<Sandbox> {
    let find = "import sys, sysconfig, zipfile, email.message, glob; std = sysconfig.get_path('stdlib'); \
                print(sys.executable); print(std); print(len(glob.glob(std + '/ensurepip/_bundled/pip-*.whl')))";
    let ask = |python: &str| {
        let output = Command::new(python).args(["-I", "-c", find]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        let [python, stdlib, pips] = text.lines().collect::<Vec<_>>()[..] else { return None };
        Some((std::fs::canonicalize(python).ok()?, stdlib.to_owned(), pips != "0"))
    };
    let mut found: Vec<_> = ["python3", "/usr/bin/python3"].into_iter().filter_map(ask).collect();
    found.sort_by_key(|(_, _, has_pip)| !has_pip);
    let Some((python, stdlib, _)) = found.first() else {
        eprintln!("SKIP: there is no python3 with its standard library");
        return None;
    };
    let sandbox = Sandbox::new();
    sandbox.buildpack("test/python", "exit 0", INTERPRETER);
    sandbox.buildpack("test/user", "exit 0", USER);
    sandbox.order(&[&["test/python", "test/user"]]);
    sandbox.run_image();
    let mut copy = Command::new("/bin/sh");
    copy.args(["-c", COPY]).env("PYTHON", python).env("STDLIB", stdlib).env("TO", sandbox.path("cpython"));
    assert!(copy.status().expect("sh").success(), "copy {}", python.display());
    for (name, value) in [("CPYTHON", sandbox.path("cpython")), ("TMPDIR", sandbox.path("tmp"))] {
        sandbox.write(&format!("platform/env/{name}"), value.to_str().expect("UTF-8"));
    }
    Some(sandbox)
}

fn build(sandbox: &Sandbox, mode: &str, image: &str) -> Outcome {
    std::fs::remove_dir_all(sandbox.path("layers")).expect("remove layers");
    std::fs::create_dir(sandbox.path("layers")).expect("create layers");
    sandbox.own("layers");
    sandbox.creator().args(["-layer-protection", mode, "-skip-restore", image]).run()
}

/// `.pyc` files and installed packages that are now in the interpreter's layer.
fn written(sandbox: &Sandbox) -> (bool, bool) {
    let find = |name: &str| {
        let layer = sandbox.path("layers/test_python/python");
        let output = Command::new("find").arg(layer).args(["-name", name]).output().expect("find");
        !output.stdout.is_empty()
    };
    (find("*.pyc"), find("hello_lifecycle.py"))
}

fn python_diff_id(sandbox: &Sandbox, image: &str) -> String {
    let (config, _) = sandbox.layout_read(image);
    let label = config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"].as_str().expect("a label");
    let label: serde_json::Value = serde_json::from_str(label).expect("JSON");
    label["buildpacks"][0]["layers"]["python"]["sha"].as_str().expect("a diffID").to_owned()
}

#[test]
fn an_interpreter_of_another_buildpack_in_every_mode() {
    if skipped_without_root() {
        return;
    }
    let Some(sandbox) = sandbox() else { return };

    // Today: whatever happens to be imported decides what the layer is.
    let off =
        build(&sandbox, "off", "example.com/off").success().says("imported by [ROOT]/layers/test_python").lacks("changed while");
    let has_pip = !off.stdout.contains("no pip");
    assert_eq!(written(&sandbox), (true, has_pip));

    let changed = "layer 'test/python:python' changed while buildpack 'test/user' ran";
    build(&sandbox, "warn", "example.com/warn").success().says(changed).says("added python/lib/python3");
    assert_eq!(written(&sandbox), (true, has_pip));
    build(&sandbox, "error", "example.com/error").code(53).says(changed);
    assert!(!sandbox.exists("layout/example.com/error"));

    // The image has the interpreter as its buildpack left it, twice the same.
    build(&sandbox, "discard", "example.com/discard").success().says(changed).says("The image gets what its owner left.");
    let pristine = python_diff_id(&sandbox, "example.com/discard");
    assert_ne!(pristine, python_diff_id(&sandbox, "example.com/warn"));
    sandbox.write("platform/env/PIP_MORE", "--no-compile");
    build(&sandbox, "discard", "example.com/discard").success();
    assert_eq!(pristine, python_diff_id(&sandbox, "example.com/discard"));

    // Imports work without writing, and pip says that it cannot install into the interpreter.
    let enforce = build(&sandbox, "enforce", "example.com/enforce");
    if enforce.stdout.contains("cannot be enforced") {
        eprintln!("SKIP: this machine has no Landlock");
        return;
    }
    let enforce = enforce.success().says("imported by [ROOT]/layers/test_python").lacks("changed while");
    assert_eq!(written(&sandbox), (false, false));
    assert_eq!(pristine, python_diff_id(&sandbox, "example.com/enforce"));
    if has_pip {
        enforce.says("Permission denied").says("pip failed");
        // The way that a buildpack should take: packages go into a layer of its own.
        let target = sandbox.path("layers/test_user/packages");
        sandbox.write("platform/env/PIP_MORE", format!("--target {}", target.display()));
        build(&sandbox, "enforce", "example.com/target").success().says("pip installed it");
        assert!(sandbox.exists("layers/test_user/packages/hello_lifecycle.py"));
    }
}
