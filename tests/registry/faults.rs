//! What breaks is mended, and what cannot be mended is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use lifecycle::image::ImageStore;

use super::faulty::{Fault, FaultyRegistry, Manners};
use super::support::{check_whole, layer, save, store};

/// Each fault once, at the first request that fits.
fn once(registry: &FaultyRegistry, method: Method, part: &'static str, fault: Fault) -> Arc<AtomicUsize> {
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&hits);
    registry.script(move |m, path| {
        (*m == method && path.contains(part) && counter.fetch_add(1, Ordering::SeqCst) == 0).then(|| fault.clone())
    });
    hits
}

#[test]
fn every_kind_of_fault_in_every_kind_of_write_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let layers = [layer(dir.path(), "small", 1, 1000), layer(dir.path(), "large", 2, 3 << 20)];
    let faults = [
        Fault::Status(503, None),
        Fault::Status(429, Some("0")),
        Fault::Status(500, None),
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::CutUpload(1_500_000),
        Fault::CutUpload(0),
        Fault::LoseUpload,
        Fault::Delay(Duration::from_millis(50)),
    ];
    let requests = [
        (Method::GET, "/v2/"),
        (Method::POST, "/uploads/"),
        (Method::PATCH, "/uploads/"),
        (Method::PUT, "/uploads/"),
        (Method::PUT, "/manifests/"),
    ];
    std::thread::scope(|scope| {
        for (method, part) in requests {
            let (faults, layers) = (&faults, &layers);
            scope.spawn(move || {
                for fault in faults {
                    let registry = FaultyRegistry::start(Manners::default());
                    let hits = once(&registry, method.clone(), part, fault.clone());
                    let name = registry.name("app");
                    let saved =
                        save(&store(&[]), &[&name], None, layers).unwrap_or_else(|e| panic!("{method} {part} {fault:?}: {e}"));
                    assert!(hits.load(Ordering::SeqCst) >= 1, "{method} {part}");
                    registry.calm();
                    assert_eq!(check_whole(&store(&[]), &name).digest, saved.digest, "{method} {part} {fault:?}");
                }
            });
        }
    });
}

#[test]
fn an_upload_goes_on_from_where_the_registry_says() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners::default());
    once(&registry, Method::PATCH, "/uploads/", Fault::CutUpload(3_000_000));
    save(&store(&[]), &[&registry.name("app")], None, &[layer(dir.path(), "large", 2, 8 << 20)]).unwrap();
    let seen: Vec<String> = registry.take_seen().iter().map(|s| format!("{} {}", s.method, s.status)).collect();
    // ping; upload, broken patch; is it there? how far? the rest; end; config (two), manifest
    let want =
        ["GET 200", "POST 202", "PATCH 0", "HEAD 404", "GET 204", "PATCH 202", "PUT 201", "POST 202", "PUT 201", "PUT 201"];
    assert_eq!(seen, want);
}

#[test]
fn a_registry_that_wants_the_length_gets_the_layer_again() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners { wants_length: true, ..Manners::default() });
    let layers = [layer(dir.path(), "large", 2, 3 << 20), layer(dir.path(), "other", 3, 3 << 20)];
    save(&store(&[]), &[&registry.name("app")], None, &layers).unwrap();
    check_whole(&store(&[]), &registry.name("app"));
    // Once is enough to know.
    assert_eq!(registry.take_seen().iter().filter(|s| s.method == "PATCH").count(), 1);
}

#[test]
fn reads_go_on_where_they_broke() {
    let dir = tempfile::tempdir().unwrap();
    for no_ranges in [false, true] {
        let registry = FaultyRegistry::start(Manners { no_ranges, ..Manners::default() });
        let name = registry.name("app");
        save(&store(&[]), &[&name], None, &[layer(dir.path(), "large", 3, 4 << 20)]).unwrap();
        let reading = store(&[]);
        let image = reading.open(&name).unwrap().unwrap();
        let cuts = AtomicUsize::new(0);
        registry.script(move |method, path| {
            let hit = *method == Method::GET && path.contains("/blobs/") && cuts.fetch_add(1, Ordering::SeqCst) < 3;
            hit.then_some(Fault::CutBody(70))
        });
        let mut tar = Vec::new();
        let mut reader = reading.read_layer(&image, &image.config.diff_ids()[0]).unwrap();
        std::io::Read::read_to_end(&mut reader, &mut tar).unwrap();
        assert_eq!(super::support::sha256(&tar), image.config.diff_ids()[0].as_str());
        let partial = registry.take_seen().iter().filter(|s| s.status == 206).count();
        assert_eq!(partial > 0, !no_ranges);
    }
}

#[test]
fn wrong_bytes_are_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners::default());
    let name = registry.name("app");
    save(&store(&[]), &[&name], None, &[layer(dir.path(), "large", 3, 2 << 20)]).unwrap();
    // A config that is wrong is read again.
    once(&registry, Method::GET, "/blobs/", Fault::WrongByte(100));
    let reading = store(&[]);
    let image = reading.open(&name).unwrap().unwrap();
    // A manifest asked for by tag is checked against what the registry says.
    once(&registry, Method::GET, "/manifests/", Fault::WrongByte(0));
    assert_eq!(store(&[]).open(&name).unwrap().unwrap().digest, image.digest);
    // A layer has been passed on already when it turns out to be wrong.
    once(&registry, Method::GET, "/blobs/", Fault::WrongByte(100));
    let mut reader = reading.read_layer(&image, &image.config.diff_ids()[0]).unwrap();
    assert!(std::io::Read::read_to_end(&mut reader, &mut Vec::new()).is_err());
    // A registry that always lies is found out.
    registry.script(|method, path| (*method == Method::GET && path.contains("/blobs/")).then_some(Fault::WrongByte(100)));
    let error = store(&[]).open(&name).unwrap_err().to_string();
    assert!(error.contains("its content is sha256:") && error.contains("4 attempts"), "{error}");
}

#[test]
fn what_cannot_get_better_is_not_tried_again() {
    let registry = FaultyRegistry::start(Manners::default());
    for status in [401, 403, 404, 400] {
        registry.script(move |_, path| path.contains("/manifests/").then_some(Fault::Status(status, None)));
        let _ = store(&[]).open(&registry.name("app"));
        let tried = registry.take_seen().iter().filter(|s| s.path.contains("/manifests/")).count();
        assert_eq!(tried, 1, "{status}");
    }
}

#[test]
fn the_timeout_ends_what_never_works() {
    let registry = FaultyRegistry::start(Manners::default());
    registry.script(|_, path| path.contains("/manifests/").then_some(Fault::Status(429, Some("1"))));
    let started = Instant::now();
    let error = store(&[("CNB_REGISTRY_TIMEOUT", "3")]).open(&registry.name("app")).unwrap_err().to_string();
    assert!(
        error.contains("429 Too Many Requests: TOLD: by the script")
            && error.contains("the registry limits the rate of requests"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_registry_that_falls_silent_is_given_up() {
    let registry = FaultyRegistry::start(Manners::default());
    registry.script(|_, path| path.contains("/manifests/").then_some(Fault::Delay(Duration::from_secs(60))));
    let error = store(&[("CNB_REGISTRY_TIMEOUT", "1")]).open(&registry.name("app")).unwrap_err().to_string();
    assert!(error.contains("no answer in time"), "{error}");
}

#[test]
fn tokens_are_shared_and_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let manners = Manners { tokens: Some(Some(("cnb".to_owned(), "secret".to_owned()))), ..Manners::default() };
    let registry = FaultyRegistry::start(manners);
    let auth = format!(r#"{{"{}":"Basic Y25iOnNlY3JldA=="}}"#, registry.host);
    let (app, cache) = (registry.name("app"), registry.name("cache"));
    let writing = store(&[("CNB_REGISTRY_AUTH", &auth)]);
    writing.check_read_write_access(&app).unwrap();
    save(&writing, &[&app], None, &[layer(dir.path(), "large", 3, 2 << 20)]).unwrap();
    let seen = registry.take_seen();
    let count = |path: &str| seen.iter().filter(|s| s.path.starts_with(path)).count();
    // One ping; one token to read and one to write, for everything.
    assert_eq!((seen.iter().filter(|s| s.path == "/v2/").count(), count("/token")), (1, 2));

    // Late in a long build the registry knows the token no longer.
    once(&registry, Method::PUT, "/manifests/", Fault::ExpireTokens);
    save(&writing, &[&cache], None, &[layer(dir.path(), "large", 4, 2 << 20)]).unwrap();
    check_whole(&store(&[("CNB_REGISTRY_AUTH", &auth)]), &cache);

    // Or it thinks that the token allows too little.
    once(&registry, Method::PUT, "/manifests/", Fault::Status(403, None));
    save(&writing, &[&cache], None, &[layer(dir.path(), "small", 5, 100)]).unwrap();
    registry.calm();

    let error = store(&[]).check_read_access(&app).unwrap_err().to_string();
    assert!(error.contains("/token: 401 Unauthorized: UNAUTHORIZED: wrong user or password"), "{error}");
    let wrong = format!(r#"{{"{}":"Basic Y25iOndyb25n"}}"#, registry.host);
    let error = store(&[("CNB_REGISTRY_AUTH", &wrong)]).check_read_access(&app).unwrap_err().to_string();
    assert!(error.contains("credentials: CNB_REGISTRY_AUTH; the credentials are wrong or do not allow this"), "{error}");
    assert!(!error.contains("wrong\"") && !error.contains("Y25iOndyb25n"), "{error}");
}

#[test]
fn a_token_that_expires_in_a_stream_is_renewed() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners { tokens: Some(None), ..Manners::default() });
    for (method, part) in
        [(Method::PATCH, "/uploads/"), (Method::PUT, "/uploads/"), (Method::PUT, "/manifests/"), (Method::HEAD, "/blobs/")]
    {
        once(&registry, method, part, Fault::ExpireTokens);
        let name = registry.name("app");
        save(&store(&[]), &[&name], None, &[layer(dir.path(), "large", 4, 3 << 20)]).unwrap();
        registry.calm();
        check_whole(&store(&[]), &name);
    }
}

#[test]
fn a_lost_blob_is_found_out_before_an_image_is_made_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let registry = FaultyRegistry::start(Manners::default());
    let (run, app) = (registry.name("run"), registry.name("app"));
    save(&store(&[]), &[&run], None, &[layer(dir.path(), "base", 1, 1000)]).unwrap();
    let writing = store(&[]);
    let base = writing.open(&run).unwrap().unwrap();
    save(&writing, &[&app], Some(&base), &[layer(dir.path(), "a", 2, 1000)]).unwrap();
    let blob = base.manifest.as_ref().unwrap().layers().unwrap()[0].digest.to_string();

    // Known from before, but gone meanwhile: the layer is mounted again from where it still is.
    let again = store(&[]);
    let base = again.open(&run).unwrap().unwrap();
    again.open(&app).unwrap();
    save(&again, &[&app], Some(&base), &[layer(dir.path(), "b", 3, 1000)]).unwrap();
    registry.lose_blob(&blob);
    assert!(!again.is_complete(&again.open(&app).unwrap().unwrap()).unwrap());
    let before = registry.manifest("app", "latest");
    let error = save(&store(&[]), &[&app], Some(&base), &[layer(dir.path(), "c", 4, 1000)]).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("failed to write image to the following tags: [{app}: ")) && error.contains("404 Not Found"),
        "{error}"
    );
    assert_eq!(registry.manifest("app", "latest"), before);
}

/// A random number generator for schedules (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn fault(&mut self) -> Fault {
        match self.roll(11) {
            0 => Fault::Status(503, None),
            1 => Fault::Status(429, Some("0")),
            2 => Fault::Status(502, None),
            3 => Fault::Status(408, None),
            4 => Fault::ResetBefore,
            5 => Fault::ResetAfter,
            6 => Fault::CutBody(self.roll(256) as u8),
            7 => Fault::CutUpload(self.roll(2 << 20) as usize),
            8 => Fault::LoseUpload,
            9 => Fault::ExpireTokens,
            _ => Fault::Delay(Duration::from_millis(self.roll(30))),
        }
    }
}

/// Hundreds of random schedules: build on a base in another repository, under two names, then read. Either the right image
/// is there under a name, or the one from before; never another.
#[test]
fn random_schedules_lose_nothing_and_push_nothing_wrong() {
    const RUNS: usize = 320;
    let dir = tempfile::tempdir().unwrap();
    let layers = [
        layer(dir.path(), "small", 1, 3000),
        layer(dir.path(), "middle", 2, 1_200_000),
        layer(dir.path(), "large", 3, 2_600_000),
    ];
    let next = AtomicUsize::new(0);
    let outcomes = std::sync::Mutex::new(HashMap::<bool, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= RUNS {
                        return;
                    }
                    let done = one_run(seed as u64, &layers);
                    *outcomes.lock().unwrap().entry(done).or_default() += 1;
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    // Few faults in a row are mended; storms may be too much.
    assert!(outcomes[&true] > RUNS * 8 / 10, "{outcomes:?}");
}

fn one_run(seed: u64, layers: &[lifecycle::layers::source::LayerSource]) -> bool {
    let tokens = if seed.is_multiple_of(3) { Some(None) } else { None };
    let manners = Manners { tokens, no_mounts: seed.is_multiple_of(5), no_ranges: seed.is_multiple_of(7), ..Manners::default() };
    let registry = FaultyRegistry::start(manners);
    let [run, app, other] = ["run", "app", "other"].map(|name| registry.name(name));
    save(&store(&[]), &[&run], None, &layers[..1]).unwrap();
    save(&store(&[]), &[&app], None, &layers[..1]).unwrap();
    let before = registry.manifest("app", "latest");
    let expected = {
        let calm = FaultyRegistry::start(Manners::default());
        let writing = store(&[]);
        save(&writing, &[&calm.name("run")], None, &layers[..1]).unwrap();
        let base = writing.open(&calm.name("run")).unwrap().unwrap();
        save(&writing, &[&calm.name("app")], Some(&base), &layers[1..]).unwrap();
        calm.manifest("app", "latest").unwrap().1
    };

    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    // One request in so many goes wrong.
    let rarity = 2 + dice.roll(8);
    registry.script(move |_, _| (dice.roll(rarity) == 0).then(|| dice.fault()));
    let writing = store(&[("CNB_REGISTRY_TIMEOUT", "20")]);
    let result = writing.open(&run).and_then(|base| {
        let base = base.ok_or_else(|| lifecycle::error::Error::new("run image is gone"))?;
        save(&writing, &[&app, &other], Some(&base), &layers[1..])
    });
    registry.calm();
    let now = registry.manifest("app", "latest");
    let is_new = now.as_ref().is_some_and(|(_, bytes)| *bytes == expected);
    assert!(is_new || now == before, "seed {seed}: a wrong image");
    match result {
        Ok(saved) => {
            assert!(is_new, "seed {seed}: lost");
            for name in [&app, &other] {
                assert_eq!(check_whole(&store(&[]), name).digest, saved.digest, "seed {seed}");
            }
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("attempts") || text.contains("401"), "seed {seed}: {text}");
            false
        }
    }
}
