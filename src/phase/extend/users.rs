//! Users and groups of the image that is extended, from its `/etc/passwd` and `/etc/group`.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

/// The two files, read anew for each instruction: commands change them.
#[derive(Debug, Default)]
pub struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Users {
    /// A missing file is an empty one.
    pub fn read(root: &Path) -> Self {
        let text = |file: &str| fs::read(root.join(file)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        Self::parse(&text("etc/passwd"), &text("etc/group"))
    }

    fn parse(passwd: &str, group: &str) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            Some(User {
                name: f[0].to_owned(),
                uid: f.get(2)?.parse().ok()?,
                gid: f.get(3)?.parse().ok()?,
                home: f.get(5).copied().unwrap_or_default().to_owned(),
            })
        });
        let groups = group.lines().filter_map(|line| {
            let f: Vec<&str> = line.split(':').collect();
            let members = f.get(3).copied().unwrap_or_default().split(',').filter(|m| !m.is_empty());
            Some(Group { name: f[0].to_owned(), gid: f.get(2)?.parse().ok()?, members: members.map(str::to_owned).collect() })
        });
        Self { users: users.collect(), groups: groups.collect() }
    }

    /// For a config's `User`: `user`, `user:group`, names or numbers. Empty is root.
    pub fn identity(&self, spec: &str) -> Result<Identity> {
        let (name, group) = split(spec);
        let name = if name.is_empty() { "0" } else { name };
        let user = self.user(name);
        let uid = match user {
            Some(user) => user.uid,
            None => self.uid(name)?,
        };
        let gid = match group {
            Some(group) => self.gid(group)?,
            None => user.map_or(uid, |u| u.gid),
        };
        let mut groups = Vec::new();
        if user.is_some() || group.is_some() {
            groups.push(gid);
        }
        let member = |g: &&Group| user.is_some_and(|u| g.members.contains(&u.name));
        groups.extend(self.groups.iter().filter(member).map(|g| g.gid));
        groups.sort_unstable();
        groups.dedup();
        let home = match user {
            Some(user) if user.home.is_empty() => "/",
            Some(user) => &user.home,
            None if uid == 0 => "/root",
            None => "/",
        };
        Ok(Identity { uid, gid, groups, home: home.to_owned() })
    }

    /// Owner of files that a `USER` or `--chown` of this text makes. Without a group the group has the number of the user.
    pub fn owner(&self, spec: &str) -> Result<(u32, u32)> {
        let (name, group) = split(spec);
        if name.is_empty() {
            return Ok((0, 0));
        }
        let uid = self.uid(name)?;
        Ok((uid, group.map_or(Ok(uid), |group| self.gid(group))?))
    }

    /// By name, else by number.
    fn user(&self, name: &str) -> Option<&User> {
        let number = name.parse::<u32>().ok();
        let by_name = self.users.iter().find(|u| u.name == name);
        by_name.or_else(|| self.users.iter().find(|u| Some(u.uid) == number))
    }

    fn uid(&self, name: &str) -> Result<u32> {
        if let Some(user) = self.users.iter().find(|u| u.name == name) {
            return Ok(user.uid);
        }
        match name.parse() {
            Ok(uid) => Ok(uid),
            Err(_) if name == "root" => Ok(0),
            Err(_) => Err(Error::new(format!("user {name} is not a uid and does not exist on the system"))),
        }
    }

    fn gid(&self, name: &str) -> Result<u32> {
        if let Some(group) = self.groups.iter().find(|g| g.name == name) {
            return Ok(group.gid);
        }
        match name.parse() {
            Ok(gid) => Ok(gid),
            Err(_) if name == "root" => Ok(0),
            Err(_) => Err(Error::new(format!("group {name} is not a gid and does not exist on the system"))),
        }
    }
}

fn split(spec: &str) -> (&str, Option<&str>) {
    match spec.split_once(':') {
        Some((name, "")) => (name, None),
        Some((name, group)) => (name, Some(group)),
        None => (spec, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::parse(
            "root:x:0:0:root:/root:/bin/sh\ncnb:x:1000:1000::/home/cnb:/bin/sh\nother:x:2000:2001::/home/other:/bin/sh\nodd\n",
            "root:x:0:\ncnb:x:1000:\nother:x:2001:\nextra:x:3000:cnb,other\n",
        )
    }

    #[test]
    fn identities() {
        for (spec, uid, gid, groups, home) in [
            ("", 0, 0, vec![0], "/root"),
            ("root", 0, 0, vec![0], "/root"),
            ("1000:1000", 1000, 1000, vec![1000, 3000], "/home/cnb"),
            ("other", 2000, 2001, vec![2001, 3000], "/home/other"),
            ("other:extra", 2000, 3000, vec![3000], "/home/other"),
            ("other:", 2000, 2001, vec![2001, 3000], "/home/other"),
            ("4000", 4000, 4000, vec![], "/"),
            ("4000:4001", 4000, 4001, vec![4001], "/"),
        ] {
            let want = Identity { uid, gid, groups, home: home.to_owned() };
            assert_eq!(users().identity(spec).unwrap(), want, "{spec}");
        }
        let error = users().identity("nobody-here").unwrap_err().to_string();
        assert_eq!(error, "user nobody-here is not a uid and does not exist on the system");
        assert_eq!(Users::default().identity("root").unwrap().uid, 0);
    }

    #[test]
    fn owners() {
        for (spec, want) in [("", (0, 0)), ("other", (2000, 2000)), ("other:extra", (2000, 3000)), ("4000:4001", (4000, 4001))] {
            assert_eq!(users().owner(spec).unwrap(), want, "{spec}");
        }
        assert!(users().owner("1:nogroup").is_err());
    }
}
