//! A scratch root with everything a builder image has, and the program run in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The build user; present on every Debian.
pub const UID: u32 = 65534;

pub const LATEST: &str = "0.15";

/// A child that is forked while another thread has a script open for writing would keep it open until it execs, and running
/// the script would fail with "text file busy". Whoever writes a file or starts a child holds this.
static NO_FORK: Mutex<()> = Mutex::new(());

/// Starts a program; see [`NO_FORK`].
pub fn spawn(command: &mut Command) -> Child {
    let _guard = NO_FORK.lock();
    command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"))
}

/// Says why and returns true if this process is not root.
pub fn skipped_without_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: needs root, as phases change user");
    }
    !root
}

/// A directory that the build user can reach, with the binaries under the names platforms use. `LIFECYCLE_BIN_DIR` names
/// another implementation's binaries, to see what the suite says of it.
pub fn binaries() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("lifecycle-test-bin.{}", std::process::id()));
        remove_left_behind(&std::env::temp_dir());
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("create directory for binaries");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        let other = std::env::var_os("LIFECYCLE_BIN_DIR").map(PathBuf::from);
        let from = |name, built| other.as_ref().map_or_else(|| PathBuf::from(built), |dir| dir.join(name));
        fs::copy(from("lifecycle", env!("CARGO_BIN_EXE_lifecycle")), dir.join("lifecycle")).expect("copy lifecycle");
        fs::copy(from("launcher", env!("CARGO_BIN_EXE_launcher")), dir.join("launcher")).expect("copy launcher");
        for phase in ["analyzer", "detector", "restorer", "builder", "exporter", "creator", "rebaser", "extender"] {
            symlink("lifecycle", dir.join(phase)).expect("link phase");
        }
        dir
    })
}

/// Nothing runs at the end of a test program, so the next one removes the binaries of those that have ended.
fn remove_left_behind(temp: &Path) {
    for entry in fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("lifecycle-test-bin.")?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A scratch root; removed on drop. `app`, `layers`, `cache`, `layout` and `home` belong to the build user.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lifecycle-test.").tempdir().expect("create scratch root");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let sandbox = Self { dir };
        for name in ["app", "layers", "cache", "layout", "home", "tmp"] {
            fs::create_dir(sandbox.path(name)).expect("create directory");
            if rustix::process::geteuid().is_root() {
                chown(sandbox.path(name), Some(UID), Some(UID)).expect("chown");
            }
        }
        fs::create_dir_all(sandbox.path("platform/env")).expect("create directory");
        fs::create_dir_all(sandbox.path("cnb/buildpacks")).expect("create directory");
        // What it is does not matter to the exporter; a small file keeps the tests quick.
        sandbox.write_mode("cnb/launcher", "#!/bin/sh\n", 0o755);
        sandbox
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write_mode(name, content, 0o644);
    }

    pub fn write_mode(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("create directory");
        let _guard = NO_FORK.lock();
        fs::write(&path, content).expect("write file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("read {name}: {e}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    /// A buildpack `id@1.0` of the latest Buildpack API with shell scripts as bin/detect and bin/build.
    pub fn buildpack(&self, id: &str, detect: &str, build: &str) {
        self.buildpack_toml(id, "0.12", "", detect, build);
    }

    /// The same with an API and additional lines for buildpack.toml.
    pub fn buildpack_toml(&self, id: &str, api: &str, more: &str, detect: &str, build: &str) {
        let dir = format!("cnb/buildpacks/{}/1.0", id.replace('/', "_"));
        let toml = format!("api = \"{api}\"\n[buildpack]\nid = \"{id}\"\nversion = \"1.0\"\nname = \"{id}\"\n{more}");
        self.write(&format!("{dir}/buildpack.toml"), toml);
        self.write_mode(&format!("{dir}/bin/detect"), format!("#!/bin/sh\n{detect}\n"), 0o755);
        self.write_mode(&format!("{dir}/bin/build"), format!("#!/bin/sh\n{build}\n"), 0o755);
    }

    /// order.toml; each group a list of ids, optional ones end in `?`.
    pub fn order(&self, groups: &[&[&str]]) {
        let mut toml = String::new();
        for group in groups {
            toml.push_str("[[order]]\n");
            for id in *group {
                let (id, optional) = id.strip_suffix('?').map_or((*id, false), |id| (id, true));
                toml.push_str(&format!("[[order.group]]\nid = \"{id}\"\nversion = \"1.0\"\noptional = {optional}\n"));
            }
        }
        self.write("cnb/order.toml", toml);
    }

    /// An image of one small layer in the layout directory, as `name` with tag `latest`; returns its manifest digest.
    pub fn layout_image(&self, name: &str, config: Value) -> String {
        let tar = small_tar(name);
        let top = format!("layout/{name}/latest");
        let blob = |data: &[u8]| {
            let digest = sha256(data);
            self.write(&format!("{top}/blobs/sha256/{digest}"), data);
            json!({ "digest": format!("sha256:{digest}"), "size": data.len() })
        };
        let with = |media_type: &str, mut descriptor: Value| {
            descriptor["mediaType"] = media_type.into();
            descriptor
        };
        let layer = with("application/vnd.oci.image.layer.v1.tar+gzip", blob(&gzip(&tar)));
        let json = json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))] },
        });
        let config = with("application/vnd.oci.image.config.v1+json", blob(json.to_string().as_bytes()));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer],
        });
        let descriptor = with("application/vnd.oci.image.manifest.v1+json", blob(manifest.to_string().as_bytes()));
        let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
        self.write(&format!("{top}/index.json"), json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string());
        self.write(&format!("{top}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
        self.own("layout");
        digest
    }

    /// The default run image of `creator`.
    pub fn run_image(&self) {
        self.layout_image(
            "example.com/run",
            json!({ "Env": ["PATH=/usr/bin:/bin"], "Labels": { "io.buildpacks.stack.id": "s" } }),
        );
    }

    /// Gives a directory and all below to the build user.
    pub fn own(&self, name: &str) {
        fn walk(path: &Path) {
            std::os::unix::fs::lchown(path, Some(UID), Some(UID)).expect("chown");
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                for entry in fs::read_dir(path).expect("read directory") {
                    walk(&entry.expect("read directory").path());
                }
            }
        }
        walk(&self.path(name));
    }

    /// The phase, as root or as the build user, in the environment of a builder image.
    pub fn phase(&self, name: &str) -> Run<'_> {
        let text = |p: &str| self.path(p).to_str().expect("UTF-8").to_owned();
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME".to_owned(), text("home")),
            ("TMPDIR".to_owned(), text("tmp")),
            ("CNB_PLATFORM_API".to_owned(), LATEST.to_owned()),
            ("CNB_NO_COLOR".to_owned(), "true".to_owned()),
            ("CNB_LAYERS_DIR".to_owned(), text("layers")),
            ("CNB_APP_DIR".to_owned(), text("app")),
        ]);
        if name != "launcher" {
            for (key, value) in
                [("USER_ID", UID.to_string()), ("GROUP_ID", UID.to_string()), ("EXPERIMENTAL_MODE", "quiet".to_owned())]
            {
                env.insert(format!("CNB_{key}"), value);
            }
            for (key, value) in [
                ("PLATFORM_DIR", "platform"),
                ("BUILDPACKS_DIR", "cnb/buildpacks"),
                ("ORDER_PATH", "cnb/order.toml"),
                ("RUN_PATH", "cnb/run.toml"),
                ("STACK_PATH", "cnb/stack.toml"),
                ("BUILD_CONFIG_DIR", "cnb/build-config"),
            ] {
                env.insert(format!("CNB_{key}"), text(value));
            }
        }
        let user = matches!(name, "detector" | "builder" | "launcher").then_some(UID);
        Run { sandbox: self, program: binaries().join(name), argv0: None, args: Vec::new(), env, user }
    }

    /// `creator` into the layout directory with the default run image.
    pub fn creator(&self) -> Run<'_> {
        let launcher = self.path("cnb/launcher");
        self.phase("creator")
            .args(["-layout", "-layout-dir"])
            .args([self.path("layout")])
            .args(["-launcher"])
            .args([launcher])
            .args(["-run-image", "example.com/run"])
    }

    /// Config and manifest of an image in the layout directory.
    pub fn layout_read(&self, name: &str) -> (Value, Value) {
        let top = format!("layout/{name}/latest");
        let json = |file: String| -> Value { serde_json::from_str(&self.read(&file)).expect("JSON") };
        let blob = |d: &Value| format!("{top}/blobs/{}", d["digest"].as_str().expect("a digest").replace(':', "/"));
        let index = json(format!("{top}/index.json"));
        let manifest = json(blob(&index["manifests"][0]));
        (json(blob(&manifest["config"])), manifest)
    }
}

/// A run of the program that is being put together.
pub struct Run<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
    argv0: Option<String>,
    args: Vec<std::ffi::OsString>,
    env: BTreeMap<String, String>,
    user: Option<u32>,
}

impl Run<'_> {
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub fn api(self, api: &str) -> Self {
        self.env("CNB_PLATFORM_API", api)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// As this user and group instead.
    pub fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    pub fn argv0(mut self, name: &str) -> Self {
        self.argv0 = Some(name.to_owned());
        self
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env).current_dir(self.sandbox.dir.path()).stdin(Stdio::null());
        if let Some(name) = &self.argv0 {
            command.arg0(name);
        }
        if let Some(uid) = self.user.filter(|_| rustix::process::geteuid().is_root()) {
            command.uid(uid).gid(uid);
        }
        command
    }

    pub fn run(&self) -> Outcome {
        let mut command = self.command();
        let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("wait for {}: {e}", self.program.display()));
        let text =
            |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(self.sandbox.dir.path().to_str().expect("UTF-8"), "[ROOT]");
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Exit status and output; the scratch root is shown as `[ROOT]`.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout lacks {text:?}:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn lacks(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text), "stdout has {text:?}:\n{}", self.stdout);
        self
    }

    /// A build that goes well writes nothing to stderr (compatibility.md §4).
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.stderr, "", "stderr; stdout:\n{}", self.stdout);
        self
    }
}

pub fn sha256(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("compress");
    encoder.finish().expect("compress")
}

/// A tar with one file `base` that holds `content`.
pub fn small_tar(content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "base", content.as_bytes()).expect("write tar");
    builder.into_inner().expect("write tar")
}

/// A tar with these files, in this order.
pub fn tar_of(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_slice()).expect("write tar");
    }
    builder.into_inner().expect("write tar")
}
