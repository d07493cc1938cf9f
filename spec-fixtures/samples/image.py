#!/usr/bin/env python3
"""Makes and unpacks images in an OCI layout directory, for the samples only; independent of the code it tries out.

image.py make ROOTFS LAYOUT_DIR/REGISTRY/REPO/TAG     one layer from a directory
image.py unpack LAYOUT_DIR/REGISTRY/REPO/TAG ROOTFS [BASE]  applies the layers; blobs missing there are taken from BASE
                                                      (a run image's layout); prints the config's Env, one a line
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def make(rootfs, top):
    os.makedirs(top + "/blobs/sha256", exist_ok=True)

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{top}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    def normal(info):
        info.mtime, info.uid, info.gid, info.uname, info.gname = 1, 0, 0, "", ""
        return info

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(os.listdir(rootfs)):
            tar.add(os.path.join(rootfs, name), name, filter=normal)
    tar = buffer.getvalue()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(gzip.compress(tar, 1, mtime=0))}
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "User": "1000:1000",
            "Labels": {"io.buildpacks.base.distro.name": "debian", "io.buildpacks.base.distro.version": "12"},
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
        "history": [{"created_by": "sample run image from Debian packages"}],
    }
    kind = "application/vnd.oci.image.%s+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind % "manifest.v1",
        "config": {"mediaType": kind % "config.v1", **blob(json.dumps(config).encode())},
        "layers": [layer],
    }
    index = {"schemaVersion": 2, "manifests": [{"mediaType": kind % "manifest.v1", **blob(json.dumps(manifest).encode())}]}
    with open(top + "/index.json", "w") as f:
        json.dump(index, f)
    with open(top + "/oci-layout", "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)


def unpack(top, rootfs, base=None):
    def blob(digest):
        path = "/blobs/" + digest.replace(":", "/")
        where = next(d for d in (top, base) if d and os.path.exists(d + path))
        return open(where + path, "rb")

    with open(top + "/index.json") as f:
        (entry,) = json.load(f)["manifests"]
    manifest = json.load(blob(entry["digest"]))
    config = json.load(blob(manifest["config"]["digest"]))
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        with blob(layer["digest"]) as f:
            data = f.read()
        if hashlib.sha256(data).hexdigest() != layer["digest"][7:]:
            sys.exit(f"blob {layer['digest']} is damaged")
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if hashlib.sha256(data).hexdigest() != diff_id[7:]:
            sys.exit(f"layer {layer['digest']} does not have the diffID {diff_id}")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = tar.getmembers()
            for member in members:  # layer tars of buildpacks name files absolutely
                member.name = member.name.lstrip("/")
                if member.islnk():
                    member.linkname = member.linkname.lstrip("/")
            tar.extractall(rootfs, members, numeric_owner=True)
    print("\n".join(config["config"]["Env"]))


# Newer versions of tarfile refuse absolute link targets unless told otherwise; older ones ignore this attribute.
tarfile.TarFile.extraction_filter = staticmethod(lambda member, path: member)

if __name__ == "__main__":
    try:
        {"make": make, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
    except (KeyError, IndexError, TypeError):
        sys.exit(__doc__)
