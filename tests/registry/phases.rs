//! Whole phases, as a platform starts them, against a registry that counts and breaks things.

use std::fs;

use lifecycle::image::ImageStore;
use serde_json::json;

use super::faulty::{Fault, FaultyRegistry, Manners};
use super::sandbox::{Outcome, Run, Sandbox, skipped_without_root};
use super::support::{check_whole, layer, save, store};

const BUILD: &str = r#"
for l in one two three; do
    mkdir -p "$CNB_LAYERS_DIR/$l"; echo "$l" > "$CNB_LAYERS_DIR/$l/file"
    printf '[types]\nlaunch = true\ncache = true\n' > "$CNB_LAYERS_DIR/$l.toml"
done
printf '[[processes]]\ntype = "web"\ncommand = ["x"]\ndefault = true\n' > "$CNB_LAYERS_DIR/launch.toml"
"#;

fn sandbox(registry: &FaultyRegistry, build: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.buildpack("a/one", "exit 0", build);
    sandbox.order(&[&["a/one"]]);
    sandbox.write("app/main.txt", "hello\n");
    sandbox.own("app");
    sandbox.write("cnb/run.toml", format!("[[images]]\nimage = \"{}\"\n", registry.name("run")));
    let dir = tempfile::tempdir().unwrap();
    for (name, seed) in [("run", 1), ("run:new", 2)] {
        save(&store(&[]), &[&registry.name(name)], None, &[layer(dir.path(), "base", seed, 1000)]).unwrap();
    }
    registry.take_seen();
    sandbox
}

fn creator<'a>(sandbox: &'a Sandbox, registry: &FaultyRegistry) -> Run<'a> {
    sandbox
        .phase("creator")
        .args(["-launcher"])
        .args([sandbox.path("cnb/launcher")])
        .args(["-cache-dir"])
        .args([sandbox.path("cache")])
        .args(["-run-image", &registry.name("run"), &registry.name("app")])
}

fn rebaser<'a>(sandbox: &'a Sandbox, registry: &FaultyRegistry) -> Run<'a> {
    sandbox.phase("rebaser").args(["-force", "-run-image", &registry.name("run:new"), &registry.name("app")])
}

fn forget_layers(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.path("layers")).unwrap();
    fs::create_dir(sandbox.path("layers")).unwrap();
    sandbox.own("layers");
}

/// performance.md: no more requests than these; each costs a round trip.
#[test]
fn requests_are_few() {
    if skipped_without_root() {
        return;
    }
    let registry = FaultyRegistry::start(Manners::default());
    let sandbox = sandbox(&registry, BUILD);
    let seen = |what: &str, most: usize, outcome: Outcome| {
        outcome.success();
        let seen = registry.take_seen();
        let lines: Vec<String> = seen.iter().map(|s| format!("{} {} {}", s.method, s.path, s.status)).collect();
        println!("{what}: {} requests", lines.len());
        assert!(lines.len() <= most, "{what}: {} requests:\n{}", lines.len(), lines.join("\n"));
        assert_eq!(lines.iter().filter(|line| *line == "GET /v2/ 200").count(), 1, "{what}: one ping");
    };
    // 3 buildpack layers, SBOM (none), app, launcher, config, process types, one base layer, config, manifest.
    seen("first build", 32, creator(&sandbox, &registry).run());
    forget_layers(&sandbox);
    // Each blob of the previous image is looked for: the analyzer ignores images that have lost some.
    seen("no change", 20, creator(&sandbox, &registry).run());
    seen("rebase", 12, rebaser(&sandbox, &registry).run());
}

/// The reference makes 49 requests for the same build, one after the other.
#[test]
fn round_trips_overlap() {
    if skipped_without_root() {
        return;
    }
    let latency = std::time::Duration::from_millis(20);
    let registry = FaultyRegistry::start(Manners { latency, ..Manners::default() });
    let sandbox = sandbox(&registry, BUILD);
    creator(&sandbox, &registry).run().success();
    // A machine that is busy with something else does not make the program wait for the registry any longer.
    let best = (0..3).map(|_| {
        forget_layers(&sandbox);
        registry.take_busy();
        creator(&sandbox, &registry).run().success();
        registry.take_busy()
    });
    let best = best.min().unwrap();
    println!("waited for the registry: {best:?}");
    assert!(best < latency * 49 / 2, "{best:?}");
}

#[test]
fn every_phase_succeeds_or_fails_with_its_own_exit_code() {
    if skipped_without_root() {
        return;
    }
    let mut good = 0;
    for seed in 1..=24_u64 {
        let registry = FaultyRegistry::start(Manners::default());
        let sandbox = sandbox(&registry, BUILD);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        registry.script(move |_, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let faults = [
                Fault::Status(503, None),
                Fault::Status(429, Some("0")),
                Fault::ResetBefore,
                Fault::ResetAfter,
                Fault::CutBody(99),
            ];
            let faults = [&faults[..], &[Fault::CutUpload(50), Fault::LoseUpload, Fault::Status(500, None)]].concat();
            (state % (2 + seed % 5) == 0).then(|| faults[(state >> 32) as usize % faults.len()].clone())
        });
        let built = creator(&sandbox, &registry).env("CNB_REGISTRY_TIMEOUT", "20").run();
        let rebased = (built.code == Some(0)).then(|| rebaser(&sandbox, &registry).env("CNB_REGISTRY_TIMEOUT", "20").run());
        registry.calm();
        match built.code {
            Some(0) => {
                good += 1;
                let image = check_whole(&store(&[]), &registry.name("app"));
                assert_eq!(image.config.entrypoint(), ["/cnb/process/web"], "seed {seed}");
            }
            // Inputs, analyze, restore, export.
            Some(1 | 3 | 32 | 42 | 62) => {
                assert_eq!(registry.manifest("app", "latest"), None, "seed {seed}: half an image");
                assert!(built.stdout.contains("ERROR: "), "seed {seed}: {}", built.stdout);
            }
            other => panic!("seed {seed}: exit code {other:?}\n{}", built.stdout),
        }
        if let Some(rebased) = rebased {
            assert!(matches!(rebased.code, Some(0 | 1 | 72)), "seed {seed}: {rebased:?}");
        }
    }
    assert!(good >= 12, "{good}");
}

/// Credentials planted everywhere appear in no child environment, log, file or error.
#[test]
fn secrets_stay_secret() {
    if skipped_without_root() {
        return;
    }
    let secret = "hunter2-cloud";
    let manners = Manners { tokens: Some(Some(("cnb".to_owned(), secret.to_owned()))), ..Manners::default() };
    let open = FaultyRegistry::start(Manners::default());
    let registry = FaultyRegistry::start(manners);
    let build = r#"
mkdir -p "$CNB_LAYERS_DIR/spy"
{ env; for p in $PPID /proc/[0-9]*; do cat "/proc/${p#/proc/}/environ" "/proc/${p#/proc/}/cmdline"; done; } > "$CNB_LAYERS_DIR/spy/out" 2>/dev/null
find / -xdev -user "$(id -u)" -type f -newer /proc/1/stat 2>/dev/null | head -1 > /dev/null
printf '[types]\nlaunch = true\ncache = true\n' > "$CNB_LAYERS_DIR/spy.toml"
"#;
    let sandbox = sandbox(&open, build);
    let encoded = {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(format!("cnb:{secret}"))
    };
    let auth = json!({&registry.host: format!("Basic {encoded}")}).to_string();
    let known = store(&[("CNB_REGISTRY_AUTH", &auth)]);
    let dir = tempfile::tempdir().unwrap();
    save(&known, &[&registry.name("run")], None, &[layer(dir.path(), "base", 1, 1000)]).unwrap();
    sandbox.write("cnb/run.toml", format!("[[images]]\nimage = \"{}\"\n", registry.name("run")));
    sandbox.write_mode("home/.docker/config.json", json!({"auths": {"other.example": {"auth": encoded}}}).to_string(), 0o600);
    let base = json!({"auths": {&registry.host: {"auth": encoded}}}).to_string();
    sandbox.write_mode("elsewhere/config.json", base, 0o600);

    let docker_config = sandbox.path("elsewhere");
    let runs = [
        creator(&sandbox, &registry).args(["-log-level", "debug"].iter().take(0)).env("CNB_REGISTRY_AUTH", &auth),
        creator(&sandbox, &registry).env("DOCKER_CONFIG", docker_config.to_str().unwrap()),
        creator(&sandbox, &registry).env("CNB_REGISTRY_AUTH_FILE", docker_config.join("config.json").to_str().unwrap()),
    ];
    for run in runs {
        let outcome = run.env("CNB_LOG_LEVEL", "debug").run().success();
        for text in [secret, encoded.as_str()] {
            assert!(!outcome.stdout.contains(text) && !outcome.stderr.contains(text), "log: {}", outcome.stdout);
            for place in ["layers", "cache", "tmp", "app"] {
                assert_eq!(files_with(&sandbox.path(place), text), Vec::<String>::new());
            }
        }
        let image = check_whole(&known, &registry.name("app"));
        assert!(!image.config.json.to_string().contains(&encoded));
        forget_layers(&sandbox);
    }
    // Errors, too.
    let wrong = json!({&registry.host: format!("Basic {encoded}x")}).to_string();
    let outcome = creator(&sandbox, &registry).env("CNB_REGISTRY_AUTH", &wrong).run();
    assert_ne!(outcome.code, Some(0));
    assert!(!outcome.stdout.contains(secret) && !outcome.stdout.contains(&encoded), "{}", outcome.stdout);
    assert_eq!(known.open(&registry.name("none")).unwrap(), None);
}

fn files_with(dir: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}
