//! The launcher in images on the bases that people use: scratch, distroless, busybox, Debian.
//!
//! One app for all: a buildpack's layer with a static program, a dynamically linked one, scripts, profiles and exec.d. What an
//! image lacks is named by the error of the process that needs it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::docker::{Outcome, World, busybox};

/// Copies what lies beside it into a layer and describes the processes. `exec.d` runs by the layer's own busybox.
const BUILD: &str = r#"#!/bin/sh
set -e
layer=${CNB_LAYERS_DIR:-$1}/tools
mkdir -p "$layer/bin" "$layer/exec.d" "$layer/profile.d/shell" "$layer/env.launch"
cp /buildpacks/test_bases/1.0/files/* "$layer/bin/"
printf '#!%s/bin/busybox sh\necho "FROM_EXEC_D = \\"$FROM_ENV, exec.d\\"" >&3\n' "$layer" > "$layer/exec.d/set"
printf '#!/bin/sh\necho "a script"\n' > "$layer/bin/script"
chmod 755 "$layer/exec.d/set" "$layer/bin/script"
printf 'env' > "$layer/env.launch/FROM_ENV"
echo 'PROFILES="$FROM_EXEC_D, layer"' > "$layer/profile.d/layer.sh"
echo 'PROFILES="$PROFILES, process"' > "$layer/profile.d/shell/process.sh"
echo 'export PROFILES="$PROFILES, app"' > .profile
printf '[types]\nlaunch = true\n' > "$layer.toml"
cat > "${layer%/*}/launch.toml" <<'EOT'
[[processes]]
type = "web"
command = "busybox"
args = ["sh", "-c", "echo \"direct in $PWD: $FROM_EXEC_D: $*\"", "sh", "default"]
direct = true
default = true
[[processes]]
type = "dynamic"
command = "env"
direct = true
[[processes]]
type = "script"
command = "script"
direct = true
[[processes]]
type = "shell"
command = "echo \"shell in $PWD: $PROFILES\""
[[processes]]
type = "tokens"
command = "busybox"
args = ["echo", "$PROFILES", "-n"]
EOT
"#;

/// The four images, made from one app by one lifecycle.
struct Bases {
    world: World,
    buildpacks: tempfile::TempDir,
}

impl Bases {
    fn new(name: &str) -> Option<Self> {
        let world = World::new(name)?;
        let buildpacks = tempfile::tempdir().expect("temporary directory");
        let root = buildpacks.path().join("test_bases/1.0");
        fs::create_dir_all(root.join("bin")).expect("create directory");
        fs::create_dir_all(root.join("files")).expect("create directory");
        fs::set_permissions(buildpacks.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let descriptor = "api = \"0.8\"\n[buildpack]\nid = \"test/bases\"\nversion = \"1.0\"\n[[stacks]]\nid = \"*\"\n";
        fs::write(root.join("buildpack.toml"), descriptor).expect("write");
        fs::write(root.join("order.toml"), "[[order]]\n[[order.group]]\nid = \"test/bases\"\nversion = \"1.0\"\n")
            .expect("write");
        for (program, script) in [("detect", "#!/bin/sh\n"), ("build", BUILD)] {
            let path = root.join("bin").join(program);
            fs::write(&path, script).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        for program in [busybox(), Path::new("/usr/bin/env")] {
            fs::copy(program, root.join("files").join(program.file_name().expect("a name"))).expect("copy");
        }
        Some(Self { world, buildpacks })
    }

    /// The app on a base of these files.
    fn app(&self, base: &str, changes: &[&str], fill: impl FnOnce(&Path)) -> App {
        let run = self.world.image_of(&format!("base-{base}"), changes, fill);
        let image = format!("{}-app-{base}", self.world.name);
        self.world.shell("find /layers -mindepth 1 -maxdepth 1 -exec rm -rf {} +");
        let args = ["-daemon", "-app", "/workspace", "-buildpacks", "/buildpacks", "-skip-restore"];
        let order =
            ["-order", "/buildpacks/test_bases/1.0/order.toml", "-run-image", &run, "-uid", "1001", "-gid", "1000", &image];
        self.world
            .container()
            .user("root")
            .with_daemon()
            .option(format!("--volume={}:/buildpacks:ro", self.buildpacks.path().display()))
            .env("CNB_PLATFORM_API", "0.15")
            .phase("creator", &[&args[..], &order[..]].concat())
            .success();
        App { image }
    }
}

struct App {
    image: String,
}

impl App {
    fn run(&self, options: &[&str], args: &[&str]) -> Outcome {
        let common = ["run", "--rm", "--network=host", "--env=CNB_NO_COLOR=true"];
        Outcome::of(&[&common[..], options, &[&self.image], args].concat())
    }

    /// A process by its type, as `docker run --entrypoint` starts it.
    fn process(&self, kind: &str) -> Outcome {
        self.run(&[&format!("--entrypoint={kind}")], &[])
    }

    /// What holds on every base: nothing of this needs anything of the image.
    fn has_direct_processes(&self) {
        let plain = |outcome: Outcome| outcome.success().stdout;
        assert_eq!(
            plain(self.run(&[], &[])),
            "direct in /workspace: env, exec.d: default\n",
            "{}: the default process",
            self.image
        );
        assert_eq!(plain(self.run(&["--entrypoint=web"], &[])), "direct in /workspace: env, exec.d: default\n", "{}", self.image);
        // Arguments of the user follow those of the process, where the buildpack's API is below 0.9.
        assert_eq!(plain(self.run(&[], &["more"])), "direct in /workspace: env, exec.d: default more\n", "{}", self.image);
        let command = ["--", "busybox", "echo", "$HOME", "any command"];
        assert_eq!(plain(self.run(&["--entrypoint=launcher"], &command)), "$HOME any command\n", "{}", self.image);
        self.run(&["--entrypoint=launcher"], &[]).code(82).says("when there is no default process a command is required");
        self.run(&["--entrypoint=launcher"], &["--", "nowhere"])
            .code(82)
            .says("ERROR: failed to launch: path lookup: exec: \"nowhere\": executable file not found in $PATH");
        // There is no link /cnb/process/unknown, so there is nothing to start.
        let unknown = self.process("unknown");
        assert_eq!(unknown.code, Some(127), "{}", unknown.stderr);
    }

    fn has_no_bash(&self) {
        for kind in ["shell", "tokens"] {
            self.process(kind)
                .code(82)
                .says("ERROR: failed to launch: bash exec: no such file or directory")
                .says(&format!("process type '{kind}' runs in a shell, and the image has no /bin/bash"));
        }
        self.run(&["--entrypoint=launcher"], &["echo hello"])
            .code(82)
            .says("this command runs in a shell (put -- in front of it to run it without), and the image has no /bin/bash");
    }

    fn lacks(&self, kind: &str, file: &str) {
        self.process(kind)
            .code(82)
            .says("ERROR: failed to launch: direct exec: no such file or directory")
            .says(&format!("needs \"{file}\", which the image does not have"));
    }
}

/// Programs with all that they are linked to.
fn install(root: &Path, programs: &[&str]) {
    let mut files: BTreeSet<PathBuf> = programs.iter().map(PathBuf::from).collect();
    for program in programs {
        files.extend(linked(program));
    }
    for file in files {
        let to = root.join(file.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("create directory");
        fs::copy(&file, &to).unwrap_or_else(|e| panic!("copy {}: {e}", file.display()));
    }
}

fn linked(program: &str) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn loader() -> String {
    let is_loader = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-"));
    linked("/usr/bin/env").into_iter().find(is_loader).expect("a loader").display().to_string()
}

fn write(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("create directory");
    fs::write(path, content).expect("write");
}

#[test]
fn the_launcher_on_every_base() {
    let Some(bases) = Bases::new("bases") else { return };
    scratch(&bases);
    distroless(&bases);
    busybox_only(&bases);
    debian(&bases);
}

/// Nothing at all, not even a directory for temporary files.
fn scratch(bases: &Bases) {
    let app = bases.app("scratch", &["ENV PATH=/bin", "USER 1001:1000"], |_| {});
    app.has_direct_processes();
    app.has_no_bash();
    app.lacks("script", "/bin/sh");
    app.lacks("dynamic", &loader());
}

/// glibc, certificates and users, but no shell and no tools.
fn distroless(bases: &Bases) {
    let app = bases.app("distroless", &["ENV PATH=/usr/bin:/bin", "USER 65532:65532"], |root| {
        write(root, "etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n");
        write(root, "etc/group", "root:x:0:\nnonroot:x:65532:\n");
        write(root, "etc/ssl/certs/ca-certificates.crt", "");
        install(root, &["/usr/bin/env"]);
        fs::remove_file(root.join("usr/bin/env")).expect("remove");
    });
    app.has_direct_processes();
    app.has_no_bash();
    app.lacks("script", "/bin/sh");
    app.process("dynamic").success().says("FROM_EXEC_D=env, exec.d\n").says("PATH=/layers/test_bases/tools/bin:/usr/bin:/bin\n");
}

/// A shell that is not bash.
fn busybox_only(bases: &Bases) {
    let app = bases.app("busybox", &["ENV PATH=/bin", "USER 1001:1000"], |root| {
        fs::create_dir(root.join("bin")).expect("create directory");
        fs::copy(busybox(), root.join("bin/busybox")).expect("copy");
        symlink("busybox", root.join("bin/sh")).expect("link");
    });
    app.has_direct_processes();
    app.has_no_bash();
    assert_eq!(app.process("script").success().stdout, "a script\n");
    app.lacks("dynamic", &loader());
}

/// Everything there: profiles of layers, of the process and of the app, sourced by bash.
fn debian(bases: &Bases) {
    let app = bases.app("debian", &["ENV PATH=/usr/bin:/bin", "USER 1001:1000"], |root| {
        install(root, &["/bin/bash", "/bin/sh", "/usr/bin/id"]);
        for file in ["etc/debian_version", "etc/os-release", "etc/passwd", "etc/group"] {
            write(root, file, &fs::read_to_string(Path::new("/").join(file)).expect("read"));
        }
    });
    app.has_direct_processes();
    assert_eq!(app.process("script").success().stdout, "a script\n");
    app.process("dynamic").success().says("FROM_EXEC_D=env, exec.d\n");
    assert_eq!(app.process("shell").success().stdout, "shell in /workspace: env, exec.d, layer, process, app\n");
    // Words that `echo` would take for options of its own are words; profiles of other processes do not count.
    assert_eq!(app.process("tokens").success().stdout, "env, exec.d, layer, app -n\n");
    let command = |script: &str| app.run(&["--entrypoint=launcher"], &[script]);
    assert_eq!(command("echo $PROFILES as $(id -u)").success().stdout, "env, exec.d, layer, app as 1001\n");
    command("exit 17").code(17);
    let unknown = command("unknown").code(127);
    assert!(unknown.stderr.contains("unknown: command not found"), "{}", unknown.stderr);
}
