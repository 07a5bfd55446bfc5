//! Who a program is to the ensemble, and who may do what to what it sets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use zookeeper::{Acl, AuthId, Permission};

use super::Error;

/// A name and a password, for the ensemble's `digest` scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    password: String,
}

impl User {
    /// Somebody.
    ///
    /// # Errors
    /// [`Error::Config`] when the name is empty or has a colon, or the password is empty.
    pub fn new(name: &str, password: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains(':') || password.is_empty() {
            let what = "a user has a name without a colon, and a password".to_owned();
            return Err(Error::Config { what });
        }
        Ok(Self { name: name.to_owned(), password: password.to_owned() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the ensemble is shown.
    pub(crate) fn shown(&self) -> Vec<u8> {
        format!("{}:{}", self.name, self.password).into_bytes()
    }

    /// How an access list names it.
    fn id(&self) -> String {
        let digest = STANDARD.encode(Sha1::digest(self.shown()));
        format!("{}:{digest}", self.name)
    }
}

/// Never with the password.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The access list of what `user` sets: all for itself, reading for everybody. Without a user, all for
/// everybody.
pub(crate) fn acl(user: Option<&User>) -> Vec<Acl> {
    match user {
        None => open(),
        Some(user) => vec![
            Acl::new(Permission::ALL, AuthId::new("digest", &user.id())),
            Acl::new(Permission::READ, AuthId::anyone()),
        ],
    }
}

/// Everything for everybody.
pub(crate) fn open() -> Vec<Acl> {
    vec![Acl::new(Permission::ALL, AuthId::anyone())]
}

#[cfg(test)]
mod tests {
    use super::{User, acl};
    use zookeeper::Permission;

    #[test]
    fn an_access_list_names_the_user_and_lets_everybody_read() {
        let list = acl(Some(&User::new("super", "test").unwrap()));
        assert_eq!((list[0].scheme(), list[0].permission()), ("digest", Permission::ALL));
        // What ZooKeeper's own generator prints for super:test.
        assert_eq!(list[0].id(), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!((list[1].scheme(), list[1].permission()), ("world", Permission::READ));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn a_password_is_not_printed() {
        let user = User::new("alice", "secret").unwrap();
        assert!(!format!("{user:?}").contains("secret"));
    }

    #[test]
    fn a_name_with_a_colon_is_refused() {
        assert!(User::new("a:b", "x").is_err());
        assert!(User::new("", "x").is_err());
        assert!(User::new("a", "").is_err());
    }
}
