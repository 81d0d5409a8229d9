//! Objects in memory: for tests, and for plans that are tried out first.

use crate::{Listed, Read, StoreError, Write, name, range};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

type Objects = BTreeMap<String, Object>;

#[derive(Debug)]
struct Object {
    bytes: Vec<u8>,
    put: SystemTime,
}

/// A store in memory. Clones share their objects.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    objects: Arc<RwLock<Objects>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    // No code panics while it holds the lock, and the map is whole at any time, so poison carries no news.
    fn objects(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn objects_mut(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn with<T>(&self, name: &str, look: impl FnOnce(&[u8]) -> Result<T, StoreError>) -> Result<T, StoreError> {
        name::check(name)?;
        let objects = self.objects();
        let object = objects.get(name).ok_or_else(|| StoreError::not_found(self, name))?;
        look(&object.bytes)
    }
}

impl Read for Memory {
    fn get(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.with(name, |bytes| {
            if bytes.len() as u64 > limit {
                return Err(StoreError::too_large(self, name, limit));
            }
            Ok(bytes.to_vec())
        })
    }

    fn get_range(&self, name: &str, wanted: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.with(name, |bytes| {
            range::available(self, name, &wanted, bytes.len() as u64)?;
            // `available` has checked the end against a length that is a usize.
            Ok(bytes[wanted.start as usize..wanted.end as usize].to_vec())
        })
    }

    fn length(&self, name: &str) -> Result<Option<u64>, StoreError> {
        name::check(name)?;
        Ok(self.objects().get(name).map(|object| object.bytes.len() as u64))
    }

    fn address(&self) -> String {
        "memory".into()
    }
}

impl Write for Memory {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        name::check(name)?;
        let object = Object {
            bytes: bytes.into(),
            put: SystemTime::now(),
        };
        self.objects_mut().insert(name.into(), object);
        Ok(())
    }

    fn list_entries(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let objects = self.objects();
        let from_prefix = objects.range(prefix.to_owned()..);
        let listed = |(name, object): (&String, &Object)| Listed {
            name: name.clone(),
            length: object.bytes.len() as u64,
            modified: Some(object.put),
        };
        Ok(from_prefix
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(listed)
            .collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        name::check(name)?;
        self.objects_mut().remove(name);
        Ok(())
    }
}
