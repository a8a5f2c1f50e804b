//! Who a program of an image is, by the image's own `passwd(5)` and `group(5)`.

/// A line of a `passwd`: name, user id, group id.
pub(crate) fn account(passwd: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        wanted(name, uid).then_some((uid, gid))
    })
}

#[cfg(feature = "image")]
mod resolve {
    use super::account;
    use crate::image::ImageUser;

    /// The user that an image names, as `USER`, `UID`, and either with `:GROUP` or `:GID`. None for
    /// root and for no name: these are the sandbox's own user.
    pub(crate) fn user(name: &str, passwd: &str, group: &str) -> Result<Option<ImageUser>, String> {
        let (user, wanted_group) = name.split_once(':').unwrap_or((name, ""));
        if user.is_empty() {
            return Ok(None);
        }
        let listed = match user.parse::<u32>() {
            Ok(uid) => account(passwd, |_, listed| listed == uid).or(Some((uid, uid))),
            Err(_) => account(passwd, |listed, _| listed == user),
        };
        let (uid, gid) =
            listed.ok_or_else(|| format!("its user {user:?} is not in its /etc/passwd"))?;
        if uid == 0 {
            return Ok(None);
        }
        let gid = if wanted_group.is_empty() { gid } else { group_id(wanted_group, group)? };
        // The last is no id but stands for none (chown(2)).
        if uid == u32::MAX || gid == u32::MAX {
            return Err(format!("its user {name:?} has an impossible id"));
        }
        Ok(Some(ImageUser { name: name.to_owned(), uid, gid }))
    }

    fn group_id(wanted: &str, group: &str) -> Result<u32, String> {
        if let Ok(gid) = wanted.parse() {
            return Ok(gid);
        }
        let listed = group.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok())?
        });
        listed.ok_or_else(|| format!("its group {wanted:?} is not in its /etc/group"))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:100:101::/:/bin/sh\n";
        const GROUP: &str = "root:x:0:\nusers:x:50:app\n";

        fn ids(name: &str) -> Option<(u32, u32)> {
            user(name, PASSWD, GROUP).unwrap().map(|user| (user.uid, user.gid))
        }

        #[test]
        fn users_are_found_by_name_and_number() {
            assert_eq!(ids("app"), Some((100, 101)));
            assert_eq!(ids("100"), Some((100, 101)));
            assert_eq!(ids("65532"), Some((65532, 65532)));
            assert_eq!(ids("app:users"), Some((100, 50)));
            assert_eq!(ids("7:8"), Some((7, 8)));
        }

        #[test]
        fn nothing_looks_like_root() {
            for name in ["", "0", "root", "root:users", "0:0"] {
                assert_eq!(ids(name), None, "{name}");
            }
        }

        #[test]
        fn who_is_not_there_is_an_error() {
            for name in ["ghost", "app:ghosts", "4294967295", "-1"] {
                assert!(user(name, PASSWD, GROUP).is_err(), "{name}");
            }
        }
    }
}

#[cfg(feature = "image")]
pub(crate) use resolve::user;
