use super::*;

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect()
}

/// A directory with these files; `None` makes a directory.
fn dir(files: &[(&str, Option<&str>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::create_dir_all(path).unwrap(),
        }
    }
    dir
}

fn build_env(pairs: &[(&str, &str)]) -> Env {
    Env { vars: vars(pairs), root_dirs: BUILD_ROOT_DIRS }
}

#[test]
fn buildpacks_see_only_the_allowed_variables() {
    let own = vars(&[
        ("PATH", "/bin"),
        ("LD_LIBRARY_PATH", "a"),
        ("LIBRARY_PATH", "b"),
        ("CPATH", "c"),
        ("PKG_CONFIG_PATH", "d"),
        ("HOME", "/root"),
        ("HOSTNAME", "h"),
        ("CNB_STACK_ID", "with=sign"),
        ("HTTPS_PROXY", "1"),
        ("https_proxy", "2"),
        ("HTTP_PROXY", "3"),
        ("http_proxy", "4"),
        ("NO_PROXY", "5"),
        ("no_proxy", "6"),
    ]);
    let mut all = own.clone();
    all.extend(vars(&[("CNB_PLATFORM_API", "0.12"), ("USER", "x"), ("path", "lower case"), ("LANG", "C"), ("", "")]));
    assert_eq!(Env::for_build(&all).vars(), &own);
}

#[test]
fn processes_do_not_see_the_launchers_variables_and_directories() {
    let own = vars(&[
        ("PATH", "/cnb/process:/bin:/cnb/lifecycle:/cnb/process/:/cnb/process:"),
        ("CNB_LAYERS_DIR", "x"),
        ("CNB_APP_DIR", "x"),
        ("CNB_PROCESS_TYPE", "x"),
        ("CNB_PLATFORM_API", "x"),
        ("CNB_DEPRECATION_MODE", "x"),
        ("CNB_EXEC_ENV", "test"),
    ]);
    let env = Env::for_launch(&own, Path::new("/cnb/process"), Path::new("/cnb/lifecycle"));
    assert_eq!(env.vars(), &vars(&[("PATH", "/bin:/cnb/process/:"), ("CNB_EXEC_ENV", "test")]));
    assert_eq!(Env::for_launch(&vars(&[]), Path::new("a"), Path::new("b")).vars(), &vars(&[]));
}

/// buildpack.md, "Layer Paths": which directories go to which variables, in builds and at launch.
#[test]
fn directories_of_layers_are_prepended() {
    let layers =
        dir(&[("a/bin", None), ("a/lib", None), ("a/include", None), ("a/pkgconfig", None), ("b/bin", None), ("c/x", None)]);
    let own = vars(&[("PATH", "/bin"), ("CPATH", "")]);
    let at = |p: &str| layers.path().join(p).to_str().unwrap().to_owned();
    let apply = |mut env: Env| {
        for layer in ["a", "b", "c", "missing"] {
            env.add_root_dir(&layers.path().join("x/../").join(layer)).unwrap();
        }
        env.vars
    };
    let path = format!("{}:{}:/bin", at("b/bin"), at("a/bin"));
    let lib = at("a/lib");
    assert_eq!(
        apply(Env::for_build(&own)),
        vars(&[
            ("PATH", &path),
            ("LD_LIBRARY_PATH", &lib),
            ("LIBRARY_PATH", &lib),
            ("CPATH", &at("a/include")),
            ("PKG_CONFIG_PATH", &at("a/pkgconfig")),
        ])
    );
    let launch = Env::for_launch(&own, Path::new("p"), Path::new("l"));
    assert_eq!(apply(launch), vars(&[("PATH", &path), ("LD_LIBRARY_PATH", &lib), ("CPATH", "")]));
}

#[test]
fn a_layer_that_is_a_file_is_an_error() {
    let layers = dir(&[("a", Some(""))]);
    let error = build_env(&[]).add_root_dir(&layers.path().join("a")).unwrap_err();
    assert_eq!(error.to_string(), format!("stat {}/a/bin: not a directory", layers.path().display()));
}

/// buildpack.md, "Environment Variable Modification Rules": (files, variable before, variable after).
#[test]
fn modification_rules() {
    type Case<'a> = (&'a [(&'a str, Option<&'a str>)], Option<&'a str>, Option<&'a str>);
    let cases: &[Case<'_>] = &[
        (&[("V", Some("new"))], Some("old"), Some("new")),
        (&[("V.override", Some("new\n"))], Some("old"), Some("new\n")),
        (&[("V.default", Some("new"))], Some("old"), Some("old")),
        (&[("V.default", Some("new"))], Some(""), Some("new")),
        (&[("V.default", Some("new"))], None, Some("new")),
        (&[("V.prepend", Some("new"))], Some("old"), Some("newold")),
        (&[("V.prepend", Some("new")), ("V.delim", Some("--"))], Some("old"), Some("new--old")),
        (&[("V.prepend", Some("new")), ("V.delim", Some("--"))], None, Some("new")),
        (&[("V.append", Some("new"))], Some("old"), Some("oldnew")),
        (&[("V.append", Some("new")), ("V.delim", Some(":\n"))], Some("old"), Some("old:\nnew")),
        (&[("V.append", Some("new")), ("V.delim", Some(":"))], Some(""), Some("new")),
        // A delimiter alone, an unknown suffix, a second dot and a directory change nothing.
        (&[("V.delim", Some("--"))], Some("old"), Some("old")),
        (&[("V.unknown", Some("new"))], Some("old"), Some("old")),
        (&[("V.x.append", Some("new"))], Some("old"), Some("old")),
        (&[("V/file", Some("new"))], Some("old"), Some("old")),
        // In the order of the file names: append, default, override, prepend.
        (&[("V.append", Some("a")), ("V.override", Some("o")), ("V.prepend", Some("p"))], Some("old"), Some("po")),
        (&[("V", Some("v")), ("V.append", Some("a"))], Some("old"), Some("va")),
        // Only `<dir>` itself counts, not directories in it.
        (&[("web/V", Some("new"))], None, None),
    ];
    for (files, before, after) in cases {
        let layer = dir(files);
        let mut env = build_env(&[]);
        if let Some(value) = before {
            env.set("V", value);
        }
        env.add_env_dir(layer.path()).unwrap();
        assert_eq!(env.get("V"), after.map(OsStr::new), "{files:?} on {before:?}");
    }
}

#[test]
fn links_to_files_count_and_dangling_ones_fail() {
    let layer = dir(&[("real", Some("value")), ("env", None)]);
    std::os::unix::fs::symlink("../real", layer.path().join("env/V")).unwrap();
    std::os::unix::fs::symlink("..", layer.path().join("env/DIR")).unwrap();
    let mut env = build_env(&[]);
    env.add_env_dir(&layer.path().join("env")).unwrap();
    assert_eq!(env.vars(), &vars(&[("V", "value")]));
    std::os::unix::fs::symlink("nowhere", layer.path().join("env/X")).unwrap();
    let error = env.add_env_dir(&layer.path().join("env")).unwrap_err().to_string();
    let path = layer.path().display();
    assert_eq!(error, format!("apply env files from dir '{path}/env': stat {path}/env/X: no such file or directory"));
}

/// B19: the delimiter of `env` does not reach `env.launch`.
#[test]
fn delimiters_hold_in_their_directory() {
    let layer = dir(&[("env/V.delim", Some(":")), ("env.launch/V.append", Some("new"))]);
    let mut env = build_env(&[("V", "old")]);
    env.add_env_dir(&layer.path().join("env")).unwrap();
    env.add_env_dir(&layer.path().join("env.launch")).unwrap();
    assert_eq!(env.get("V"), Some(OsStr::new("oldnew")));
}

/// platform.md, "User-Provided Variables": set, or prepended where layers prepend; suffixes mean nothing.
#[test]
fn the_users_variables_come_on_top() {
    let platform = dir(&[
        ("env/PATH", Some("/user/bin")),
        ("env/CPATH", Some("/user/include")),
        ("env/HOME", Some("/user")),
        ("env/BP_X.append", Some("literal")),
    ]);
    let env = build_env(&[("PATH", "/layer/bin"), ("HOME", "/root"), ("BP_X", "from a layer")]);
    let expected = vars(&[
        ("PATH", "/user/bin:/layer/bin"),
        ("CPATH", "/user/include"),
        ("HOME", "/user"),
        ("BP_X", "from a layer"),
        ("BP_X.append", "literal"),
    ]);
    assert_eq!(env.with_overrides(Some(platform.path()), None).unwrap().vars(), &expected);
    assert_eq!(env.with_overrides(None, None).unwrap(), env);
}

/// platform.md, "Build Config": defaults unless a suffix says otherwise, after the user's variables.
#[test]
fn the_builders_configuration_comes_last() {
    let platform = dir(&[("env/A", Some("user")), ("env/B", Some("user"))]);
    let config = dir(&[
        ("env/A", Some("operator")),
        ("env/B.override", Some("operator")),
        ("env/C", Some("operator")),
        ("env/D.append", Some("operator")),
        ("env/D.delim", Some(" ")),
    ]);
    let env = build_env(&[("D", "layer")]);
    let with_user = env.with_overrides(Some(platform.path()), Some(config.path())).unwrap();
    assert_eq!(with_user.vars(), &vars(&[("A", "user"), ("B", "operator"), ("C", "operator"), ("D", "layer operator")]));
    let cleared = env.with_overrides(None, Some(config.path())).unwrap();
    assert_eq!(cleared.vars(), &vars(&[("A", "operator"), ("B", "operator"), ("C", "operator"), ("D", "layer operator")]));
}

#[test]
fn bytes_that_are_not_utf8_pass() {
    let layer = tempfile::tempdir().unwrap();
    fs::write(layer.path().join(OsStr::from_bytes(b"V\xff")), b"\xfe").unwrap();
    let mut env = build_env(&[]);
    env.add_env_dir(layer.path()).unwrap();
    assert_eq!(env.vars().get(OsStr::from_bytes(b"V\xff")).map(|v| v.as_bytes()), Some(&b"\xfe"[..]));
}
