//! SBOM files of the two binaries: the crates that Cargo.lock pins and that are really linked, in three formats.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use lifecycle::cli::VERSION;
use lifecycle::error::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A binary that is released.
#[derive(Clone, Copy)]
pub enum Binary {
    Launcher,
    Lifecycle,
}

impl Binary {
    pub const ALL: [Self; 2] = [Self::Launcher, Self::Lifecycle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Launcher => "launcher",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// A crate of the binary.
struct Package {
    name: String,
    version: String,
    license: String,
}

impl Package {
    /// Package URL (purl), the same in all formats.
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The documents by their file name extensions (platform.md, "Software-Bill-of-Materials").
pub fn documents(binary: Binary, target: &str) -> Result<[(&'static str, Vec<u8>); 3]> {
    let packages = packages(binary, target)?;
    let text = |value: Value| format!("{value:#}\n").into_bytes();
    Ok([
        ("sbom.cdx.json", text(cyclonedx(binary, &packages))),
        ("sbom.spdx.json", text(spdx(binary, &packages))),
        ("sbom.syft.json", text(syft(binary, &packages))),
    ])
}

/// What Cargo resolves for the target with the binary's features: normal dependencies only, no build scripts, no proc
/// macros of tests.
fn packages(binary: Binary, target: &str) -> Result<Vec<Package>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if matches!(binary, Binary::Launcher) {
        cargo.arg("--no-default-features");
    }
    let output = cargo.output().map_err(|e| Error::new(format!("cargo metadata: {e}")))?;
    if !output.status.success() {
        return Err(Error::new(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| Error::new(format!("cargo metadata: {e}")))?;
    Ok(linked(&metadata))
}

fn linked(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"]).into_iter().map(|n| (text(&n["id"]), n)).collect();
    let details: BTreeMap<String, Value> = list(&metadata["packages"]).into_iter().map(|p| (text(&p["id"]), p)).collect();
    let is_macro = |id: &str| list(&details[id]["targets"]).iter().any(|t| list(&t["kind"]).contains(&json!("proc-macro")));
    let root = text(&metadata["resolve"]["root"]);
    let mut seen = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if is_macro(&id) || !seen.insert(id.clone()) {
            continue;
        }
        for dependency in list(&nodes[&id]["deps"]) {
            if list(&dependency["dep_kinds"]).iter().any(|k| k["kind"].is_null()) {
                open.push(text(&dependency["pkg"]));
            }
        }
    }
    let mut packages: Vec<Package> = seen
        .iter()
        .map(|id| &details[id])
        .map(|p| Package {
            name: text(&p["name"]),
            version: text(&p["version"]),
            license: text(&p["license"]).replace('/', " OR "),
        })
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    packages
}

fn cyclonedx(binary: Binary, packages: &[Package]) -> Value {
    let component = |p: &Package| {
        json!({
            "type": "library", "bom-ref": p.purl(), "name": p.name, "version": p.version, "purl": p.purl(),
            "licenses": [{ "expression": p.license }],
        })
    };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": binary.name(), "name": binary.name(), "version": VERSION } },
        "components": packages.iter().map(component).collect::<Vec<_>>(),
    })
}

fn spdx(binary: Binary, packages: &[Package]) -> Value {
    let id = |p: &Package| format!("SPDXRef-Package-{}-{}", p.name.replace('_', "-"), p.version.replace(['+', '_'], "-"));
    let package = |p: &Package| {
        json!({
            "SPDXID": id(p), "name": p.name, "versionInfo": p.version, "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION", "licenseDeclared": p.license, "copyrightText": "NOASSERTION", "filesAnalyzed": false,
            "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": p.purl() }],
        })
    };
    let contents: Vec<Value> = packages.iter().map(package).collect();
    // The namespace has to be unique for its content and the same for the same content.
    let namespace = sha256(Value::from(contents.clone()).to_string().as_bytes());
    let describes = |p: &Package| json!({ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": id(p) });
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": binary.name(),
        "documentNamespace": format!("https://buildpacks.io/spdx/{}-{VERSION}-{namespace}", binary.name()),
        "creationInfo": { "created": "1980-01-01T00:00:01Z", "creators": [format!("Tool: lifecycle-package-{VERSION}")] },
        "packages": contents,
        "relationships": packages.iter().map(describes).collect::<Vec<_>>(),
    })
}

fn syft(binary: Binary, packages: &[Package]) -> Value {
    let artifact = |p: &Package| {
        json!({
            "id": &sha256(p.purl().as_bytes())[..16], "name": p.name, "version": p.version, "type": "rust-crate",
            "foundBy": "cargo-lock", "locations": [], "language": "rust", "cpes": [], "purl": p.purl(),
            "licenses": [{ "value": p.license, "spdxExpression": p.license, "type": "declared", "urls": [], "locations": [] }],
        })
    };
    json!({
        "artifacts": packages.iter().map(artifact).collect::<Vec<_>>(),
        "artifactRelationships": [],
        "source": { "id": "", "name": binary.name(), "version": VERSION, "type": "file", "metadata": { "path": binary.name() } },
        "distro": {},
        "descriptor": { "name": "lifecycle-package", "version": VERSION },
        "schema": { "version": "16.0.0", "url": "https://raw.githubusercontent.com/anchore/syft/main/schema/json/schema-16.0.0.json" },
    })
}
