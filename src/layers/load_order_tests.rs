use super::*;

fn layers(texts: &[(&str, &str)]) -> BTreeMap<OsString, LayerToml> {
    let parse = |(name, types): &(&str, &str)| {
        let toml = LayerToml::parse(&format!("[types]\nlaunch = true\n{types}\n"), Path::new("x.toml")).unwrap();
        (OsString::from(name), toml)
    };
    texts.iter().map(parse).collect()
}

fn order(texts: &[(&str, &str)]) -> Result<LoadOrder> {
    LoadOrder::of(Path::new("/layers/a"), &layers(texts), true)
}

#[test]
fn ascending_by_order_then_by_name() {
    let texts = [("a", "load-order = 2"), ("b", ""), ("c", "load-order = 2"), ("d", "load-order = 1"), ("e", "load-order = 0")];
    let order = order(&texts).unwrap();
    assert_eq!(order.layers, ["b", "e", "d", "a", "c"]);
    assert_eq!(order.of_launch.unwrap(), ["b", "e", "d", "a", "c"]);
}

/// The name counts, not that of the file: `ruby-deps.toml` sorts before `ruby.toml`.
#[test]
fn without_an_order_names_decide_and_nothing_is_recorded() {
    let order = order(&[("ruby-deps", "load-order = 0"), ("ruby", "")]).unwrap();
    assert_eq!(order.layers, ["ruby", "ruby-deps"]);
    assert_eq!(order.of_launch, None);
}

#[test]
fn an_order_of_layers_that_are_not_for_the_launch_is_not_recorded() {
    let mut layers = layers(&[("a", "load-order = 1"), ("b", "")]);
    layers.get_mut(&OsString::from("a")).unwrap().launch = false;
    let order = LoadOrder::of(Path::new("/l"), &layers, true).unwrap();
    assert_eq!((order.layers, order.of_launch), (vec!["b".into(), "a".into()], None));
}

#[test]
fn only_whole_numbers_are_orders() {
    for (text, value) in [("0", 0), ("9007199254740991", MAX), ("1.0", 1), ("0x10", 16)] {
        let toml = &layers(&[("a", &format!("load-order = {text}"))])[&OsString::from("a")];
        assert_eq!(load_order(toml, Path::new("a.toml"), true).unwrap(), value, "{text}");
    }
    let bad = ["-1", "9007199254740992", "9223372036854775807", "1.5", "nan", "inf", "\"1\"", "true", "[1]", "-1.0"];
    for text in bad {
        let error = order(&[("a", &format!("load-order = {text}"))]).unwrap_err().to_string();
        assert!(error.starts_with("/layers/a/a.toml: [types] load-order must be an integer"), "{error}");
    }
}

#[test]
fn the_other_spelling_is_the_same_key() {
    assert_eq!(order(&[("a", "load_order = 3"), ("b", "")]).unwrap().layers, ["b", "a"]);
    let both = order(&[("a", "load_order = 3\nload-order = 3")]).unwrap_err().to_string();
    assert!(both.contains("both load-order and load_order"), "{both}");
}

#[test]
fn at_the_top_level_it_is_misplaced() {
    let toml = LayerToml::parse("load-order = 1\n[types]\nlaunch = true\n", Path::new("a.toml")).unwrap();
    let layers = BTreeMap::from([(OsString::from("a"), toml)]);
    let error = LoadOrder::of(Path::new("/l"), &layers, true).unwrap_err().to_string();
    assert_eq!(error, "the load-order key should be in the types table of /l/a.toml");
    assert_eq!(LoadOrder::of(Path::new("/l"), &layers, false).unwrap().layers, ["a"]);
}

#[test]
fn without_the_experimental_mode_the_key_is_ignored() {
    let texts = [("a", "load-order = \"x\""), ("b", "load-order = -1")];
    let order = LoadOrder::of(Path::new("/l"), &layers(&texts), false).unwrap();
    assert_eq!((order.layers, order.of_launch), (vec!["a".into(), "b".into()], None));
    for (mode, honoured) in [(None, false), (Some("error"), false), (Some("warn"), true), (Some("silent"), true)] {
        assert_eq!(honours_proposals(mode), honoured, "{mode:?}");
    }
}

#[test]
fn build_write_is_for_layers_for_builds() {
    let toml = |types: &str| LayerToml::parse(&format!("[types]\n{types}\n"), Path::new("x")).unwrap();
    assert!(is_build_write(&toml("build = true\nbuild-write = true"), "a:x", true));
    assert!(!is_build_write(&toml("build = true\nbuild-write = true"), "a:x", false));
    assert!(!is_build_write(&toml("launch = true\nbuild-write = true"), "a:x", true));
    assert!(!is_build_write(&toml("build = true"), "a:x", true));
}
