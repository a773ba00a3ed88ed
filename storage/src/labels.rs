//! Names that people gave to addresses of clients: `devices.json` in the home.
//!
//! In: an address and a name. Out: the label that the recorder puts into the column `device`.

use std::{collections::BTreeMap, collections::HashMap, fs, io, net::IpAddr, sync::Arc};

use crate::{catalogue::check_name, error::StorageError, files, home::Home, lock::FileLock};

/// Labels by address, shared with the recorder.
pub type LabelsByAddress = Arc<HashMap<IpAddr, Arc<str>>>;

/// The labels of a home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    by_address: BTreeMap<IpAddr, String>,
}

impl Labels {
    /// Those of a home; a home without any has none.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Entry`].
    pub fn load(home: &Home) -> Result<Self, StorageError> {
        let path = home.labels_path();
        match fs::read(&path) {
            Ok(document) => {
                let by_address =
                    serde_json::from_slice(&document).map_err(|source| StorageError::Entry { path, source })?;
                Ok(Self { by_address })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(StorageError::io("read", path)(error)),
        }
    }

    /// Gives an address a name, or takes it away. Returns all labels as they are then.
    ///
    /// # Errors
    /// [`StorageError::BadName`], and what [`load`](Self::load) may say.
    pub fn set(home: &Home, address: IpAddr, label: Option<&str>) -> Result<Self, StorageError> {
        home.create()?;
        let _lock = FileLock::acquire(&home.catalogue_lock_path())?;
        let mut labels = Self::load(home)?;
        match label {
            Some(label) => {
                check_name(label)?;
                labels.by_address.insert(address.to_canonical(), label.to_owned());
            }
            None => {
                labels.by_address.remove(&address.to_canonical());
            }
        }
        let path = home.labels_path();
        let document = serde_json::to_vec_pretty(&labels.by_address)
            .map_err(|source| StorageError::Entry { path: path.clone(), source })?;
        files::replace(&path, &document)?;
        Ok(labels)
    }

    /// The name of an address.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<&str> {
        self.by_address.get(&address.to_canonical()).map(String::as_str)
    }

    /// Every address with its name.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.by_address.iter().map(|(address, label)| (*address, label.as_str()))
    }

    /// For the recorder.
    #[must_use]
    pub fn shared(&self) -> LabelsByAddress {
        Arc::new(self.by_address.iter().map(|(address, label)| (*address, label.as_str().into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kept_and_taken_away() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let home = Home::at(folder.path().join("home"));
        let phone: IpAddr = "192.168.1.23".parse().expect("address");
        assert_eq!(Labels::load(&home).expect("loads"), Labels::default());
        Labels::set(&home, phone, Some("Pixel 8")).expect("sets");
        assert_eq!(Labels::load(&home).expect("loads").get(phone), Some("Pixel 8"));
        let mapped: IpAddr = "::ffff:192.168.1.23".parse().expect("address");
        assert_eq!(Labels::load(&home).expect("loads").get(mapped), Some("Pixel 8"));
        assert!(Labels::set(&home, phone, Some("a\nb")).is_err());
        assert_eq!(Labels::set(&home, phone, None).expect("removes").get(phone), None);
    }
}
