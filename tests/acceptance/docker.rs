//! Images and containers by the `docker` command line, as a person would.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::registry::Registry;

/// Every Platform API.
pub const APIS: [&str; 9] = ["0.7", "0.8", "0.9", "0.10", "0.11", "0.12", "0.13", "0.14", "0.15"];

/// The build user of the builder image.
pub const USER: &str = "1001:1000";

/// The binaries, if containers can run here; else says why not.
fn binaries() -> Option<&'static Path> {
    static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    DIR.get_or_init(|| {
        let Some(dir) = std::env::var_os("LIFECYCLE_BIN_DIR").map(PathBuf::from) else {
            eprintln!("SKIP: LIFECYCLE_BIN_DIR does not name the directory of the static binaries");
            return None;
        };
        let daemon = Command::new("docker").arg("version").output();
        if !daemon.is_ok_and(|o| o.status.success()) {
            eprintln!("SKIP: no Docker daemon answers");
            return None;
        }
        Some(dir)
    })
    .as_deref()
}

/// Runs `docker` and gives its stdout; panics with all output if it fails.
pub fn docker(args: &[&str]) -> String {
    let output = docker_output(args);
    assert!(output.status.success(), "docker {args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn docker_output(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap_or_else(|e| panic!("docker: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that needs nothing of the image it runs in.
pub fn busybox() -> &'static Path {
    ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|p| p.exists()).expect("busybox-static is installed")
}

/// A builder image, a run image, and a namespace of volumes; all removed on drop.
pub struct World {
    pub name: String,
    dir: tempfile::TempDir,
}

const BUILDPACK: &str = r#"
printf 'build as %s in %s\n' "$(id -u):$(id -g)" "$PWD"
layer=$CNB_LAYERS_DIR/deps
[ -z "$CNB_LAYERS_DIR" ] && layer=$1/deps
if [ -f "$layer/restored" ]; then echo "deps were restored"; fi
mkdir -p "$layer/bin"; touch "$layer/restored"
printf '#!/bin/sh\necho "hello from a layer, as $(id -u)"\n' > "$layer/bin/hello"; chmod 755 "$layer/bin/hello"
printf '[types]\nlaunch = true\nbuild = true\ncache = true\n' > "$layer.toml"
printf '[[processes]]\ntype = "web"\ncommand = "hello"\ndirect = true\ndefault = true\n' > "${layer%/*}/launch.toml"
"#;

/// Buildpacks get no credentials, whatever the phase had.
const NO_SECRETS: &str = r#"
if env | grep -iE 'secret|CNB_REGISTRY_AUTH'; then echo "a secret reached the buildpack"; exit 1; fi
if cat /docker-config/config.json 2>/dev/null; then echo "the buildpack can read the docker config"; exit 1; fi
"#;

const RUN_IMAGE: [&str; 3] = ["ENV PATH=/usr/bin:/bin", "LABEL io.buildpacks.stack.id=test", "USER 1001:1000"];

impl World {
    /// `None` where containers cannot run. `name` is unique per test.
    pub fn new(name: &str) -> Option<Self> {
        let binaries = binaries()?;
        let world = Self { name: format!("lifecycle-test-{name}"), dir: tempfile::tempdir().expect("temporary directory") };
        world.remove();
        world.import("run", &[], &RUN_IMAGE);
        let root = world.import_tree("builder");
        let lifecycle = root.join("cnb/lifecycle");
        fs::create_dir_all(&lifecycle).expect("create directory");
        for program in ["lifecycle", "launcher"] {
            fs::copy(binaries.join(program), lifecycle.join(program)).expect("copy binary");
        }
        for phase in ["analyzer", "detector", "restorer", "builder", "exporter", "creator", "rebaser", "extender"] {
            symlink("lifecycle", lifecycle.join(phase)).expect("link");
        }
        let buildpack = root.join("cnb/buildpacks/test_one/1.0/bin");
        fs::create_dir_all(&buildpack).expect("create directory");
        let script = |name: &str, body: &str| {
            fs::write(buildpack.join(name), format!("#!/bin/sh\nset -e\n{body}\n")).expect("write script");
            fs::set_permissions(buildpack.join(name), fs::Permissions::from_mode(0o755)).expect("chmod");
        };
        script("detect", NO_SECRETS);
        script("build", &[BUILDPACK, NO_SECRETS].concat());
        let file = |name: &str, content: &str| fs::write(root.join("cnb").join(name), content).expect("write file");
        file(
            "buildpacks/test_one/1.0/buildpack.toml",
            "api = \"0.8\"\n[buildpack]\nid = \"test/one\"\nversion = \"1.0\"\nname = \"One\"\n[[stacks]]\nid = \"*\"\n",
        );
        file("order.toml", "[[order]]\n[[order.group]]\nid = \"test/one\"\nversion = \"1.0\"\n");
        file("run.toml", &format!("[[images]]\nimage = \"{}\"\n", world.run_image()));
        file("stack.toml", &format!("[run-image]\nimage = \"{}\"\n", world.run_image()));
        world.import(
            "builder",
            &[&root],
            &[
                "ENV PATH=/usr/bin:/bin",
                "ENV CNB_USER_ID=1001",
                "ENV CNB_GROUP_ID=1000",
                "ENV CNB_STACK_ID=test",
                "USER 1001:1000",
                "WORKDIR /layers",
            ],
        );
        for volume in ["layers", "workspace"] {
            world.shell(&format!("chown -R {USER} /{volume}; echo app > /workspace/main.txt; chown {USER} /workspace/main.txt"));
        }
        Some(world)
    }

    pub fn run_image(&self) -> String {
        format!("{}-run", self.name)
    }

    /// A run image with another file, for rebases.
    pub fn other_run_image(&self) -> String {
        let root = self.import_tree("other-run");
        fs::write(root.join("etc/other"), "").expect("write file");
        self.import("other-run", &[&root], &RUN_IMAGE);
        format!("{}-other-run", self.name)
    }

    pub fn builder_image(&self) -> String {
        format!("{}-builder", self.name)
    }

    /// A root file system with busybox and users, as every image of the tests has it.
    fn import_tree(&self, name: &str) -> PathBuf {
        let root = self.dir.path().join(name);
        for dir in ["bin", "usr/bin", "etc", "home/cnb", "layers", "workspace", "platform/env", "var", "cnb"] {
            fs::create_dir_all(root.join(dir)).expect("create directory");
        }
        fs::create_dir_all(root.join("tmp")).expect("create directory");
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
        fs::copy(busybox(), root.join("bin/busybox")).expect("copy busybox");
        for tool in
            "sh cat chmod chown cp cut echo env find grep id ls mkdir printf rm sed sort stat su touch true uniq which".split(' ')
        {
            symlink("busybox", root.join("bin").join(tool)).expect("link");
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ncnb:x:1001:1000::/home/cnb:/bin/sh\n")
            .expect("write passwd");
        fs::write(root.join("etc/group"), "root:x:0:\ncnb:x:1000:\n").expect("write group");
        fs::write(root.join("etc/os-release"), "ID=test\nVERSION_ID=1\n").expect("write os-release");
        root
    }

    /// An image with the tree that `fill` makes and nothing else; gives its name.
    pub fn image_of(&self, name: &str, changes: &[&str], fill: impl FnOnce(&Path)) -> String {
        let root = self.dir.path().join(name);
        fs::create_dir_all(&root).expect("create directory");
        fill(&root);
        self.import(name, &[&root], changes);
        format!("{}-{name}", self.name)
    }

    fn import(&self, name: &str, root: &[&Path], changes: &[&str]) {
        let root = root.first().map_or_else(|| self.import_tree(name), |r| r.to_path_buf());
        let archive = self.dir.path().join(format!("{name}.tar"));
        let mut builder = tar::Builder::new(fs::File::create(&archive).expect("create tar"));
        builder.follow_symlinks(false);
        builder.mode(tar::HeaderMode::Deterministic);
        // Modes matter (sticky /tmp), owners do not: everything belongs to root.
        append(&mut builder, &root, Path::new(""));
        builder.finish().expect("write tar");
        let mut args = vec!["import"];
        for change in changes {
            args.extend(["--change", change]);
        }
        let image = format!("{}-{name}", self.name);
        args.extend([archive.to_str().expect("UTF-8"), &image]);
        docker(&args);
    }

    pub fn volume(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// A container of the builder image with volumes for /layers and /workspace on the host's network.
    pub fn container(&self) -> Container<'_> {
        let mounts = ["layers", "workspace"].map(|v| format!("{}:/{v}", self.volume(v)));
        Container { world: self, options: Vec::new(), args: Vec::new(), image: self.builder_image() }
            .option("--network=host")
            .option("--entrypoint=")
            .option(format!("--volume={}", mounts[0]))
            .option(format!("--volume={}", mounts[1]))
    }

    /// A container with credentials that only root can read.
    pub fn container_with_credentials(&self, registry: &Registry) -> Container<'_> {
        let volume = format!("--volume={}:/docker-config:ro", registry.docker_config());
        self.container().user("root").option(volume).env("DOCKER_CONFIG", "/docker-config")
    }

    /// A shell script as root in the builder image, with the volumes.
    pub fn shell(&self, script: &str) -> String {
        self.container().user("0").command(&["/bin/sh", "-ec", script]).success().stdout
    }

    /// The socket of the daemon that runs the tests.
    pub fn socket(&self) -> String {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
    }

    fn remove(&self) {
        for list in [&["volume", "ls", "-q"][..], &["images", "--format", "{{.Repository}}:{{.Tag}}"]] {
            for item in
                docker(list).lines().filter(|l| l.contains(&format!("{}-", self.name)) || l.contains(&format!("{}/", self.name)))
            {
                let remove = if list[0] == "volume" { vec!["volume", "rm", "-f", item] } else { vec!["rmi", "-f", item] };
                docker_output(&remove);
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.remove();
    }
}

fn append(builder: &mut tar::Builder<fs::File>, root: &Path, relative: &Path) {
    let mut names: Vec<_> =
        fs::read_dir(root.join(relative)).expect("read directory").map(|e| e.expect("read directory").file_name()).collect();
    names.sort();
    for name in names {
        let relative = relative.join(name);
        let path = root.join(&relative);
        let meta = path.symlink_metadata().expect("stat");
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&meta, tar::HeaderMode::Deterministic);
        header.set_mode(meta.permissions().mode() & 0o7777);
        // An empty volume takes the owner of the directory that it is mounted on.
        if ["layers", "workspace"].iter().any(|volume| relative == Path::new(volume)) {
            header.set_uid(1001);
            header.set_gid(1000);
        }
        if meta.is_symlink() {
            builder.append_link(&mut header, &relative, fs::read_link(&path).expect("read link")).expect("write tar");
        } else if meta.is_dir() {
            builder.append_data(&mut header, &relative, std::io::empty()).expect("write tar");
            append(builder, root, &relative);
        } else {
            builder.append_data(&mut header, &relative, fs::File::open(&path).expect("open")).expect("write tar");
        }
    }
}

/// A container that is being put together.
pub struct Container<'a> {
    world: &'a World,
    options: Vec<String>,
    image: String,
    args: Vec<String>,
}

impl Container<'_> {
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    pub fn user(self, user: &str) -> Self {
        self.option(format!("--user={user}"))
    }

    pub fn env(self, name: &str, value: &str) -> Self {
        self.option(format!("--env={name}={value}"))
    }

    pub fn mount(self, volume: &str, path: &str) -> Self {
        let volume = self.world.volume(volume);
        self.option(format!("--volume={volume}:{path}"))
    }

    /// Another image that has the lifecycle.
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// Another image than the builder; the lifecycle is put into it, as platforms do to extend a run image.
    pub fn in_image(mut self, image: &str) -> Self {
        self.image = image.to_owned();
        let binaries = binaries().expect("a world has binaries");
        self.option(format!("--volume={}:/cnb/lifecycle:ro", binaries.display()))
    }

    /// Gives the daemon's socket to the container, as `pack` and Spring Boot do.
    pub fn with_daemon(self) -> Self {
        let socket = self.world.socket();
        self.option(format!("--volume={socket}:/var/run/docker.sock")).option("--security-opt=label=disable")
    }

    /// The phase by its name in /cnb/lifecycle.
    pub fn phase(mut self, phase: &str, args: &[&str]) -> Outcome {
        self.args.push(format!("/cnb/lifecycle/{phase}"));
        self.args.extend(args.iter().map(|&a| a.to_owned()));
        self.start()
    }

    pub fn command(mut self, args: &[&str]) -> Outcome {
        self.args.extend(args.iter().map(|&a| a.to_owned()));
        self.start()
    }

    fn start(self) -> Outcome {
        let args: Vec<String> =
            ["run".to_owned(), "--rm".to_owned()].into_iter().chain(self.options).chain([self.image]).chain(self.args).collect();
        Outcome::of(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// What `docker` with these arguments comes to.
    pub fn of(args: &[&str]) -> Self {
        let output = docker_output(args);
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "stdout lacks {part:?}:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn lacks(self, part: &str) -> Self {
        assert!(!self.stdout.contains(part), "stdout has {part:?}:\n{}", self.stdout);
        self
    }
}
