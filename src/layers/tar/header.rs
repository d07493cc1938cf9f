//! Tar headers in the choice of format and with the bytes of the reference's tar library: USTAR where it can say it all,
//! else PAX, else GNU (layer-tar-rules.md §2.2, §2.3).

use std::collections::BTreeMap;

use super::{BLOCK, MTIME};

/// One entry. The modification time is [`MTIME`], user and group names are empty.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// `0` file, `1` hard link, `2` symlink, `3` and `4` devices, `5` directory, `6` FIFO.
    pub typeflag: u8,
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size: i64,
    /// Major and minor number.
    pub device: (i64, i64),
    /// Of an entry that was read from another tar.
    pub origin: Option<&'a Origin>,
}

/// What an entry of another tar had and keeps.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub format: Formats,
    /// PAX records.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub atime: Option<Time>,
    pub ctime: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// A set of formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats(u8);

impl Formats {
    /// Unknown: any will do.
    pub const NONE: Self = Self(0);
    pub const USTAR: Self = Self(1);
    pub const PAX: Self = Self(2);
    pub const GNU: Self = Self(4);
    const ALL: Self = Self(7);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn drop(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    fn only(&mut self, other: Self) {
        self.0 &= other.0;
    }
}

/// Width of the name field.
const NAME: usize = 100;
const PREFIX: usize = 155;

/// Keys of PAX records that have a header field of their own.
const FIELD_KEYS: [&[u8]; 10] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime", b"atime", b"ctime"];

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

impl Header<'_> {
    /// Appends the header blocks. Without them: why no format can hold the entry.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        if matches!(self.typeflag, b'0' | b'3' | b'4' | b'6') && self.name.ends_with(b"/") {
            return Err("filename may not have trailing slash".to_owned());
        }
        let (formats, records) = self.formats();
        if formats.has(Formats::USTAR) {
            let (prefix, name) = split_name(self.name).unwrap_or((b"", self.name));
            out.extend_from_slice(&self.block(name, self.link, prefix, Formats::USTAR));
        } else if formats.has(Formats::PAX) {
            if !records.is_empty() {
                extended_header(out, self.name, &records);
            }
            out.extend_from_slice(&self.block(&to_ascii(self.name), &to_ascii(self.link), b"", Formats::PAX));
        } else if formats.has(Formats::GNU) {
            for (flag, text) in [(b'L', self.name), (b'K', self.link)] {
                if text.len() > NAME {
                    let mut data = text.to_vec();
                    data.push(0);
                    raw_file(out, b"././@LongLink", &data, flag, Formats::GNU);
                }
            }
            out.extend_from_slice(&self.block(self.name, self.link, b"", Formats::GNU));
        } else {
            return Err("no tar format can hold it".to_owned());
        }
        Ok(())
    }

    /// Formats that can hold the entry, and the records it needs in PAX.
    fn formats(&self) -> (Formats, Records) {
        let mut can = Formats::ALL;
        let mut records = Records::new();
        let given = |key: &str| self.origin.and_then(|o| o.records.get(key.as_bytes()));

        for (text, key) in [(self.name, "path"), (self.link, "linkpath")] {
            if text.contains(&0) {
                can.drop(Formats::GNU);
            }
            if !is_ascii(text) || text.len() > NAME {
                if key != "path" || split_name(text).is_none() {
                    can.drop(Formats::USTAR);
                }
                records.insert(key.into(), text.to_vec());
            } else if given(key).is_some_and(|v| v == text) {
                records.insert(key.into(), text.to_vec());
            }
        }
        for key in ["uname", "gname"] {
            if given(key).is_some_and(Vec::is_empty) {
                records.insert(key.into(), Vec::new());
            }
        }
        let numbers = [
            (self.mode, 8, ""),
            (self.uid, 8, "uid"),
            (self.gid, 8, "gid"),
            (self.size, 12, "size"),
            (self.device.0, 8, ""),
            (self.device.1, 8, ""),
        ];
        for (number, width, key) in numbers {
            if !fits_binary(width, number) {
                can.drop(Formats::GNU);
            }
            if !fits_octal(width, number) {
                can.drop(Formats::USTAR);
                if key.is_empty() {
                    can.drop(Formats::PAX);
                } else {
                    records.insert(key.into(), number.to_string().into());
                }
            } else if let Some(v) = given(key)
                && *v == number.to_string().into_bytes()
            {
                records.insert(key.into(), v.clone());
            }
        }
        let Some(origin) = self.origin else { return (can, records) };

        let mut prefer_pax = false;
        if given("mtime").is_some_and(|v| *v == MTIME.to_string().into_bytes()) {
            records.insert("mtime".into(), MTIME.to_string().into());
        }
        if origin.format != Formats::NONE {
            for (time, key) in [(origin.atime, "atime"), (origin.ctime, "ctime")] {
                if let Some(time) = time {
                    can.drop(Formats::USTAR);
                    prefer_pax = true;
                    records.insert(key.into(), time.to_record());
                }
            }
        }
        if !origin.records.is_empty() {
            for (key, value) in &origin.records {
                if !FIELD_KEYS.contains(&key.as_slice()) && !key.starts_with(b"GNU.sparse.") {
                    records.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            can.only(Formats::PAX);
        }
        let mut wanted = origin.format;
        if wanted != Formats::NONE {
            if wanted.has(Formats::PAX) && !prefer_pax {
                wanted.0 |= Formats::USTAR.0;
            }
            can.only(wanted);
        }
        (can, records)
    }

    fn block(&self, name: &[u8], link: &[u8], prefix: &[u8], format: Formats) -> [u8; BLOCK] {
        let mut b = [0; BLOCK];
        let number = if format == Formats::GNU { put_number } else { put_octal };
        put_text(&mut b[..100], name);
        number(&mut b[100..108], self.mode);
        number(&mut b[108..116], self.uid);
        number(&mut b[116..124], self.gid);
        number(&mut b[124..136], self.size);
        number(&mut b[136..148], MTIME);
        b[156] = self.typeflag;
        put_text(&mut b[157..257], link);
        number(&mut b[329..337], self.device.0);
        number(&mut b[337..345], self.device.1);
        put_text(&mut b[345..500], prefix);
        if format == Formats::GNU
            && let Some(origin) = self.origin
        {
            if let Some(time) = origin.atime {
                put_number(&mut b[345..357], time.seconds);
            }
            if let Some(time) = origin.ctime {
                put_number(&mut b[357..369], time.seconds);
            }
        }
        seal(&mut b, format);
        b
    }
}

impl Time {
    /// As a PAX record has it: seconds, with as many decimals as needed.
    fn to_record(self) -> Vec<u8> {
        if self.nanos == 0 {
            return self.seconds.to_string().into();
        }
        let (sign, seconds, nanos) = if self.seconds < 0 {
            ("-", -(self.seconds + 1), 1_000_000_000 - self.nanos)
        } else {
            ("", self.seconds, self.nanos)
        };
        format!("{sign}{seconds}.{nanos:09}").trim_end_matches('0').into()
    }
}

/// Magic and checksum.
fn seal(b: &mut [u8; BLOCK], format: Formats) {
    b[257..265].copy_from_slice(if format == Formats::GNU { b"ustar  \0" } else { b"ustar\x0000" });
    b[148..156].fill(b' ');
    let sum: u32 = b.iter().map(|&x| u32::from(x)).sum();
    put_octal(&mut b[148..155], sum.into());
}

fn extended_header(out: &mut Vec<u8>, name: &[u8], records: &Records) {
    let mut data = Vec::new();
    for (key, value) in records {
        put_record(&mut data, key, value);
    }
    let base = name.iter().rposition(|&c| c == b'/').map_or(0, |i| i + 1);
    let mut path = name[..base].to_vec();
    path.extend_from_slice(b"/PaxHeaders.0/");
    path.extend_from_slice(&name[base..]);
    let mut path = to_ascii(&clean(&path, name.first() == Some(&b'/')));
    path.truncate(NAME);
    let end = path.iter().rposition(|&c| c != b'/').map_or(0, |i| i + 1);
    raw_file(out, &path[..end], &data, b'x', Formats::PAX);
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |n: usize| n.to_string().len();
    let mut length = rest + digits(rest);
    length = rest + digits(length);
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn raw_file(out: &mut Vec<u8>, name: &[u8], data: &[u8], flag: u8, format: Formats) {
    let mut b = [0; BLOCK];
    put_text(&mut b[..100], name);
    for field in [100..108, 108..116, 116..124, 136..148] {
        put_octal(&mut b[field], 0);
    }
    put_octal(&mut b[124..136], data.len() as i64);
    b[156] = flag;
    seal(&mut b, format);
    out.extend_from_slice(&b);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// A path without `.`, `..`, empty parts and trailing slashes, by its letters alone.
pub fn clean(path: &[u8], absolute: bool) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&c| c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let mut out = if absolute { b"/".to_vec() } else { Vec::new() };
    out.extend_from_slice(&parts.join(&b'/'));
    if out.is_empty() {
        out.push(b'.');
    }
    out
}

/// Prefix and name of a name that is too long for the name field alone.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !is_ascii(name) {
        return None;
    }
    let mut head = name.len();
    if head > PREFIX + 1 {
        head = PREFIX + 1;
    } else if name.ends_with(b"/") {
        head -= 1;
    }
    let i = name[..head].iter().rposition(|&c| c == b'/').filter(|&i| i > 0 && i <= PREFIX)?;
    let rest = &name[i + 1..];
    (!rest.is_empty() && rest.len() <= NAME).then_some((&name[..i], rest))
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|&c| c != 0 && c < 0x80)
}

fn to_ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|&c| c != 0 && c < 0x80).collect()
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let n = field.len().min(text.len());
    field[..n].copy_from_slice(&text[..n]);
    // A name that was cut right after a slash must not look like a directory's.
    if text.len() > field.len() && field[n - 1] == b'/' {
        let end = text[..n - 1].iter().rposition(|&c| c != b'/').map_or(0, |i| i + 1);
        field[end] = 0;
    }
}

fn fits_octal(width: usize, n: i64) -> bool {
    n >= 0 && n < 1 << (3 * (width - 1))
}

fn fits_binary(width: usize, n: i64) -> bool {
    width > 8 || (n >= -(1 << (8 * (width - 1))) && n < 1 << (8 * (width - 1)))
}

/// Zero-padded octal and a NUL; 0 if it does not fit.
fn put_octal(field: &mut [u8], n: i64) {
    let last = field.len() - 1;
    let mut rest = if fits_octal(field.len(), n) { n } else { 0 };
    field[last] = 0;
    for digit in field[..last].iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

/// Octal, or base 256 as GNU has it.
fn put_number(field: &mut [u8], n: i64) {
    if fits_octal(field.len(), n) || !fits_binary(field.len(), n) {
        return put_octal(field, n);
    }
    let mut rest = n;
    for byte in field.iter_mut().rev() {
        *byte = rest as u8;
        rest >>= 8;
    }
    field[0] |= 0x80;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::Header;

    /// Written by Go's archive/tar with Header.Format unset: name and link (bytes other than 33 to 126 as %xx), length,
    /// typeflag, mode (octal), uid, gid, size, major, minor, first 16 digits of the blocks' sha256.
    const TABLE: &str = include_str!("../../../spec-fixtures/layers/headers.tsv");

    fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts = text.split('%');
        out.extend_from_slice(parts.next().unwrap().as_bytes());
        for part in parts {
            out.push(u8::from_str_radix(&part[..2], 16).unwrap());
            out.extend_from_slice(&part.as_bytes()[2..]);
        }
        out
    }

    #[test]
    fn agrees_with_go() {
        let mut lines = 0;
        for line in TABLE.lines() {
            let f: Vec<&str> = line.split('\t').collect();
            let number = |i: usize| f[i].parse().unwrap();
            let (name, link) = (unescape(f[0]), unescape(f[1]));
            let header = Header {
                typeflag: f[3].as_bytes()[0],
                name: &name,
                link: &link,
                mode: i64::from_str_radix(f[4], 8).unwrap(),
                uid: number(5),
                gid: number(6),
                size: number(7),
                device: (number(8), number(9)),
                origin: None,
            };
            let mut blocks = Vec::new();
            let result = match header.encode(&mut blocks) {
                Ok(()) => Sha256::digest(&blocks)[..8].iter().map(|b| format!("{b:02x}")).collect(),
                Err(_) => "error".to_owned(),
            };
            assert_eq!((blocks.len().to_string().as_str(), result.as_str()), (f[2], f[10]), "{line}");
            lines += 1;
        }
        assert!(lines > 60);
    }

    proptest! {
        /// Another reader sees the entry that was meant.
        #[test]
        fn reads_back(name in "/([a-zé ]{1,90}/){0,4}[a-zé.]{1,120}", link in "[a-zé/]{0,300}",
                      mode in 0..0o7777_u32, uid in 0..u64::from(u32::MAX), gid in 0..u64::from(u32::MAX)) {
            let header = Header {
                typeflag: b'2', name: name.as_bytes(), link: link.as_bytes(), mode: mode.into(), uid: uid.cast_signed(),
                gid: gid.cast_signed(), size: 0, device: (0, 0), origin: None,
            };
            let mut blocks = Vec::new();
            header.encode(&mut blocks).unwrap();
            prop_assert_eq!(blocks.len() % 512, 0);
            let mut archive = tar::Archive::new(&blocks[..]);
            let mut entries = archive.entries().unwrap();
            let entry = entries.next().unwrap().unwrap();
            prop_assert_eq!(&*entry.path_bytes(), name.as_bytes());
            prop_assert_eq!(entry.link_name_bytes().unwrap_or_default(), link.as_bytes());
            let raw = entry.header();
            prop_assert_eq!((raw.mode().unwrap(), raw.uid().unwrap(), raw.gid().unwrap()), (mode, uid, gid));
            prop_assert_eq!(raw.mtime().unwrap(), 315_532_801);
        }
    }
}
