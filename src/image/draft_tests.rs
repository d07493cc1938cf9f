use super::*;

fn diff_id(n: u8) -> DiffId {
    DiffId::from_sha256(&[n; 32])
}

fn digest(n: u8) -> Digest {
    Digest::from_sha256(&[n; 32])
}

const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image with these layers; blob n + 100 holds layer n.
fn image(family: MediaFamily, layers: &[u8], top: Value) -> Arc<Image> {
    let mut config = json!({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin", "X=1"], "User": "1"}});
    for (key, value) in top.as_object().unwrap() {
        config[key.as_str()] = value.clone();
    }
    let ids: Vec<DiffId> = layers.iter().map(|n| diff_id(*n)).collect();
    config["rootfs"] = json!({"type": "layers", "diff_ids": ids.iter().map(DiffId::as_str).collect::<Vec<_>>()});
    let layer_type = if family == MediaFamily::Oci { OCI_GZIP } else { DOCKER_GZIP };
    let blobs: Vec<Value> = layers.iter().map(|n| Descriptor::new(layer_type, &digest(n + 100), 9).json).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": family.manifest(), "layers": blobs,
        "config": Descriptor::new(family.config(), &digest(0), 1).json});
    Arc::new(Image {
        name: "r/x".to_owned(),
        identifier: "r/x@y".to_owned(),
        config: ImageConfig { json: config },
        manifest: Some(Manifest { json: manifest }),
        digest: Some(digest(1)),
        originals: None,
    })
}

fn new_layer(n: u8) -> LayerBlob {
    LayerBlob { diff_id: diff_id(n), digest: digest(n + 100), size: 5, media_type: DOCKER_GZIP.to_owned() }
}

fn manifest(draft: &ImageDraft) -> Value {
    serde_json::from_slice(&draft.encode().unwrap().manifest).unwrap()
}

#[test]
fn base_texts_stay_if_there_is_one_entry_per_layer() {
    let history = json!({"history": [{"created": "2001-01-01T00:00:00Z", "created_by": "ADD a", "author": "x"},
        {"created_by": "ENV x", "empty_layer": true}, {"created_by": "ADD b", "comment": "c"}]});
    let mut draft = ImageDraft::from_base(&image(MediaFamily::Docker, &[1, 2], history)).unwrap();
    draft.add_layer(new_layer(3), "Application Layer");
    draft.keep_history = true;
    let want = json!([{"created": NORMALIZED, "created_by": "ADD a", "author": "x"},
        {"created": NORMALIZED, "created_by": "ADD b", "comment": "c"}, {"created": NORMALIZED, "created_by": "Application Layer"}]);
    assert_eq!(draft.finished_config().json["history"], want);

    draft.keep_history = false;
    let bare = json!({"created": NORMALIZED});
    assert_eq!(draft.finished_config().json["history"], json!([bare, bare, bare]));
}

#[test]
fn base_history_that_does_not_fit_is_replaced() {
    for history in [json!({}), json!({"history": null}), json!({"history": [{"created_by": "only one"}]})] {
        let mut draft = ImageDraft::from_base(&image(MediaFamily::Docker, &[1, 2], history)).unwrap();
        draft.keep_history = true;
        draft.created = "2017-07-14T02:40:00Z".to_owned();
        let bare = json!({"created": "2017-07-14T02:40:00Z"});
        assert_eq!(draft.finished_config().json["history"], json!([bare, bare]));
    }
}

#[test]
fn edits_of_the_config() {
    let mut draft =
        ImageDraft::from_base(&image(MediaFamily::Docker, &[1], json!({"container": "abc", "author": "me"}))).unwrap();
    draft.set_env("PATH", "/cnb:/bin");
    draft.set_env("NEW", "a=b");
    draft.set_label("l", "1");
    draft.set_label("gone", "1");
    draft.remove_label("gone");
    draft.set_entrypoint(&["/cnb/process/web"]);
    draft.set_cmd(&[]);
    draft.set_working_dir("/workspace");
    let config: Value = serde_json::from_slice(&draft.encode().unwrap().config).unwrap();
    assert_eq!(
        config["config"],
        json!({"Env": ["PATH=/cnb:/bin", "X=1", "NEW=a=b"], "Labels": {"l": "1"}, "User": "1",
            "Entrypoint": ["/cnb/process/web"], "WorkingDir": "/workspace"})
    );
    assert_eq!(config["author"], "me");
    assert_eq!(config.get("container"), None);
}

#[test]
fn one_family_within_a_manifest() {
    let other = image(MediaFamily::Oci, &[5], json!({}));
    let mut draft = ImageDraft::from_base(&image(MediaFamily::Docker, &[1], json!({}))).unwrap();
    draft.take_layer(&other, &diff_id(5), "x").unwrap();
    draft.add_layer(LayerBlob { media_type: OCI_GZIP.to_owned(), ..new_layer(6) }, "y");
    let json = manifest(&draft);
    assert_eq!(json["mediaType"], MediaFamily::Docker.manifest());
    assert_eq!(json["config"]["mediaType"], MediaFamily::Docker.config());
    for layer in json["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], DOCKER_GZIP);
    }
    let error = draft.take_layer(&other, &diff_id(9), "x").unwrap_err().to_string();
    assert_eq!(error, format!("failed to find layer with diff ID \"{}\" in image r/x", diff_id(9)));
}

#[test]
fn rebase_takes_platform_and_family_from_the_new_base_and_the_rest_from_the_app() {
    let app = image(MediaFamily::Docker, &[1, 2, 3], json!({"variant": "v2", "author": "me"}));
    let base = image(MediaFamily::Oci, &[7, 8], json!({"architecture": "arm64", "os.version": "1", "config": {"User": "base"}}));
    let draft = ImageDraft::rebase(&app, &diff_id(2), &base).unwrap();
    assert_eq!(draft.diff_ids(), [diff_id(7), diff_id(8), diff_id(3)]);
    let config = draft.finished_config();
    assert_eq!((config.architecture(), config.os_version(), config.variant(), config.user()), ("arm64", "1", "", "1"));
    assert_eq!(config.json.get("author"), None);
    let json = manifest(&draft);
    assert_eq!(json["mediaType"], MediaFamily::Oci.manifest());
    assert_eq!(json["layers"][2]["mediaType"], OCI_GZIP);
    let error = ImageDraft::rebase(&app, &diff_id(9), &base).unwrap_err().to_string();
    assert_eq!(error, "could not find base layer in image");
}

#[test]
fn unknown_fields_of_the_manifest_stay_and_bytes_are_stable() {
    let mut base = Arc::unwrap_or_clone(image(MediaFamily::Oci, &[1], json!({})));
    let json = &mut base.manifest.as_mut().unwrap().json;
    json["x-own"] = json!({"b": 1, "a": 2});
    json["subject"] = json!({"digest": "of another image"});
    json["annotations"] = json!({"of": "base"});
    json["layers"][0]["annotations"] = json!({"k": "v"});
    let mut draft = ImageDraft::from_base(&Arc::new(base)).unwrap();
    draft.annotations.insert("a".to_owned(), "b".to_owned());
    let json = manifest(&draft);
    assert_eq!(json["x-own"], json!({"b": 1, "a": 2}));
    assert_eq!(json["layers"][0]["annotations"], json!({"k": "v"}));
    assert_eq!(json["annotations"], json!({"a": "b", "of": "base"}));
    assert_eq!(json.get("subject"), None);
    assert_eq!(draft.encode().unwrap(), draft.clone().encode().unwrap());
}

#[test]
fn a_base_whose_manifest_and_config_disagree_is_refused() {
    let mut base = Arc::unwrap_or_clone(image(MediaFamily::Oci, &[1], json!({})));
    base.manifest.as_mut().unwrap().json["layers"] = json!([]);
    let error = ImageDraft::from_base(&Arc::new(base)).unwrap_err().to_string();
    assert_eq!(error, "image r/x has 0 layers in its manifest but 1 in its config");
}
