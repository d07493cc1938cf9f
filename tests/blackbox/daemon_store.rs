//! `-daemon` with an engine that keeps images in containerd's store: an image is known by its manifest, and blobs that the
//! store has are not sent again.

use std::fs;
use std::sync::atomic::Ordering;

use crate::daemon::{Fixture, IMAGE, RUN_IMAGE, fixture, run_image};
use crate::engine::Kind;
use crate::support::skipped_without_root;

/// Bytes that the engine was sent since the last build began.
fn uploaded(fixture: &Fixture) -> u64 {
    fixture.engine.received.load(Ordering::SeqCst)
}

fn launch_cache(fixture: &Fixture) -> [String; 2] {
    ["-launch-cache".to_owned(), fixture.sandbox.path("launch-cache").to_str().expect("UTF-8").to_owned()]
}

#[test]
fn only_what_containerd_lacks_is_sent() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::Containerd);
    let cache = launch_cache(&fixture);
    let cache = [cache[0].as_str(), cache[1].as_str()];
    let first = fixture.create(&cache);
    let sent = uploaded(&fixture);
    assert!((IMAGE..IMAGE + IMAGE / 50).contains(&sent), "{sent} bytes: the run image's layers are not to be sent");
    let id = fixture.check();
    first.says(&format!("*** Images ({}):", &id[..12]));
    let report = fixture.sandbox.read("layers/report.toml");
    assert!(report.contains(&format!("image-id = \"{id}\"")), "{report}");
    assert!(report.contains(&format!("manifest-size = {}", fixture.engine.store().size(&id))), "{report}");

    fixture.forget_layers();
    fixture.create(&cache).says("Reusing layer 'a/one:big'");
    assert_eq!(fixture.sandbox.read("layers/report.toml"), report);
    let traffic = fixture.engine.traffic();
    assert!(traffic < IMAGE / 100, "{traffic} bytes for nothing new");
    assert_eq!(fixture.check(), id);

    fixture.change();
    fixture.create(&cache).says("Reusing layer 'a/one:big'");
    let traffic = fixture.engine.traffic();
    assert!(traffic < IMAGE / 100, "{traffic} bytes for one line");
    assert_ne!(fixture.check(), id);

    fixture.forget_layers();
    fixture.create(&["-tag", "example.com/other:v1"]);
    assert_eq!(fixture.engine.image("example.com/other:v1").expect("second name").0, fixture.check());
}

/// The manifest comes from the engine, with the image.
#[test]
fn what_containerd_has_is_known_without_a_launch_cache() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::Containerd);
    fixture.create(&[]);
    let first = fixture.check();
    fixture.change();
    fixture.create(&[]).says("Reusing layer 'a/one:big'");
    let sent = uploaded(&fixture);
    assert!(sent < IMAGE / 100, "{sent} bytes for one line");
    let second = fixture.check();
    assert_ne!(second, first);

    // Wherever the blobs are known from, the image is the same.
    fixture.engine.remove("example.com/app:latest");
    let cache = launch_cache(&fixture);
    let cache = [cache[0].as_str(), cache[1].as_str()];
    for _ in 0..2 {
        fixture.sandbox.write("app/main.txt", "other\n");
        fixture.forget_layers();
        fixture.create(&cache);
        fixture.change();
        fixture.create(&cache);
        assert_eq!(fixture.check(), second);
    }
}

/// An image that lacks a blob is taken in without a complaint if its layers are unpacked, and with a hidden one if not.
#[test]
fn an_image_that_lacks_a_blob_is_sent_whole() {
    if skipped_without_root() {
        return;
    }
    for unpacked in [true, false] {
        let fixture = fixture(Kind::Containerd);
        let cache = launch_cache(&fixture);
        let cache = [cache[0].as_str(), cache[1].as_str()];
        fixture.create(&cache);
        fixture.change();
        fixture.engine.store().lose_largest_blob();
        if !unpacked {
            fixture.engine.store().lose_snapshots();
        }
        fixture.create(&cache);
        assert!(uploaded(&fixture) > IMAGE + RUN_IMAGE);
        fixture.check();
        assert_eq!(fixture.engine.loaded.lock().expect("bodies").len(), 3, "one load, a refused one, a whole one");
        assert_eq!(fixture.engine.store().images(), 3, "the run image, the old and the new app: nothing half stays");
    }
}

/// Before API 1.48 it cannot be known whether an image is whole.
#[test]
fn an_engine_that_tells_nothing_of_blobs_gets_all_of_them() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::OldContainerd);
    let cache = launch_cache(&fixture);
    let cache = [cache[0].as_str(), cache[1].as_str()];
    fixture.create(&cache);
    let first = fixture.check();
    fixture.forget_layers();
    fixture.create(&cache);
    assert!(fixture.engine.traffic() < IMAGE / 100);
    assert_eq!(fixture.check(), first);
    fixture.change();
    fixture.create(&cache);
    assert!(uploaded(&fixture) > IMAGE + RUN_IMAGE);
    fixture.check();
}

/// What the launch cache says of blobs is a hint.
#[test]
fn a_wrong_note_in_the_launch_cache_does_no_harm() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::Containerd);
    let cache = launch_cache(&fixture);
    let cache = [cache[0].as_str(), cache[1].as_str()];
    fixture.create(&cache);
    let note = "launch-cache/committed/.loaded";
    let text = fixture.sandbox.read(note);
    let (id, layers) = text.split_once('\n').expect("lines");
    // Each digest is damaged in its last digit.
    let damage = |line: &str| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let digit = words[1].pop().expect("a digit");
        words[1].push(if digit == '0' { '1' } else { '0' });
        words.join(" ") + "\n"
    };
    fs::write(fixture.sandbox.path(note), format!("{id}\n{}", layers.lines().map(damage).collect::<String>())).expect("write");
    fixture.change();
    fixture.create(&cache);
    fixture.check();
}

#[test]
fn a_rebase_sends_no_layer() {
    if skipped_without_root() {
        return;
    }
    let fixture = fixture(Kind::Containerd);
    fixture.create(&[]);
    let old = fixture.check();
    fixture.engine.add("example.com/run:latest", run_image(2));
    fixture.engine.traffic();
    let rebaser = fixture.sandbox.phase("rebaser").env("DOCKER_HOST", &fixture.host());
    rebaser.args(["-daemon", "-force", "-run-image", "example.com/run", "example.com/app"]).run().success().quiet();
    let sent = uploaded(&fixture);
    assert!(sent < IMAGE / 100, "{sent} bytes");
    assert_ne!(fixture.check(), old);
}
