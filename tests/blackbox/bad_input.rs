//! Bad input: an error that names the file and the cause, the documented exit code, no half-written image.

use crate::support::{Sandbox, skipped_without_root};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run_image();
    sandbox.buildpack("a/one", "exit 0", "exit 0");
    sandbox.order(&[&["a/one"]]);
    sandbox
}

#[test]
fn a_missing_order_is_named() {
    let sandbox = sandbox();
    std::fs::remove_file(sandbox.path("cnb/order.toml")).expect("remove order");
    sandbox
        .phase("detector")
        .run()
        .code(1)
        .says("failed to initialize detector: reading order: failed to read order file: open [ROOT]/cnb/order.toml: no such file or directory");
}

#[test]
fn a_malformed_order_is_named_with_its_line() {
    let sandbox = sandbox();
    sandbox.write("cnb/order.toml", "[[order]]\n[[order.group]\n");
    sandbox.phase("detector").run().code(1).says("reading order: failed to read order file").says("line 2");
}

#[test]
fn a_malformed_buildpack_toml_is_named() {
    let sandbox = sandbox();
    sandbox.write("cnb/buildpacks/a_one/1.0/buildpack.toml", "api = 0.12.1\n");
    let outcome = sandbox.phase("detector").run();
    assert!(matches!(outcome.code, Some(1 | 12 | 22)), "{outcome:?}");
}

#[test]
fn a_buildpack_of_an_unknown_api_is_refused() {
    let sandbox = sandbox();
    sandbox.buildpack_toml("a/one", "0.2", "", "exit 0", "exit 0");
    sandbox.phase("detector").run().code(12).says("0.2");
}

#[test]
fn a_malformed_group_is_named() {
    let sandbox = sandbox();
    sandbox.write("layers/group.toml", "[[group]]\nid = 5\n");
    sandbox.write("layers/plan.toml", "");
    let outcome = sandbox.phase("builder").run().says("group.toml").lacks("panicked");
    assert_ne!(outcome.code, Some(0));
}

#[test]
fn a_malformed_plan_is_named() {
    let sandbox = sandbox();
    sandbox.write("layers/group.toml", "[[group]]\nid = \"a/one\"\nversion = \"1.0\"\napi = \"0.12\"\n");
    sandbox.write("layers/plan.toml", "entries = 3\n");
    let outcome = sandbox.phase("builder").run().says("plan.toml").lacks("panicked");
    assert_ne!(outcome.code, Some(0));
}

#[test]
fn a_run_image_that_does_not_exist_is_named_and_nothing_is_written() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    let outcome = sandbox
        .creator()
        .args(["-run-image", "example.com/nowhere", "example.com/app"])
        .run()
        .says("example.com/nowhere")
        .lacks("panicked");
    assert_ne!(outcome.code, Some(0));
    assert!(!sandbox.exists("layout/example.com/app"));
}

#[test]
fn detection_that_prints_garbage_ends_in_the_documented_code() {
    let sandbox = sandbox();
    sandbox.buildpack("a/one", "printf '\\377\\000garbage = [' > \"$CNB_BUILD_PLAN_PATH\"; head -c 100000 /dev/zero", "exit 0");
    sandbox.phase("detector").run().code(21).lacks("panicked");
}

#[test]
fn no_group_that_passes_ends_with_20() {
    let sandbox = sandbox();
    sandbox.buildpack("a/one", "echo Opted out of detection; exit 100", "exit 0");
    sandbox
        .phase("detector")
        .run()
        .code(20)
        .says("======== Output: a/one@1.0 ========\nOpted out of detection\n======== Results ========\nfail: a/one@1.0")
        .says("No buildpack groups passed detection");
}

#[test]
fn an_app_directory_that_cannot_be_read_is_named() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    let outcome =
        sandbox.creator().args(["-app", "/nowhere/at/all", "example.com/app"]).run().says("/nowhere/at/all").lacks("panicked");
    assert_ne!(outcome.code, Some(0));
    assert!(!sandbox.exists("layout/example.com/app"));
}

#[test]
fn garbage_in_launch_toml_fails_the_build_and_names_the_file() {
    if skipped_without_root() {
        return;
    }
    let sandbox = sandbox();
    sandbox.buildpack("a/one", "exit 0", "echo 'processes = [[' > \"$CNB_LAYERS_DIR/launch.toml\"");
    sandbox.creator().args(["example.com/app"]).run().code(52).says("launch.toml").lacks("panicked");
    assert!(!sandbox.exists("layout/example.com/app"));
}
