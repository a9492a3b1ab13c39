use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ObjectKey, Text};

type Shard<T> = BTreeMap<Text, Arc<T>>;

/// Objects by namespace and name. Cloning is cheap (shared shards); a write copies only the shard it touches, and only
/// when a clone still reads it. Cluster-scoped objects live in the namespace `""`.
#[derive(Debug)]
pub struct Table<T> {
    shards: Arc<BTreeMap<Text, Arc<Shard<T>>>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            shards: Arc::default(),
        }
    }
}

impl<T> Table<T> {
    /// The object, if there is one.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.shards.get(namespace)?.get(name)
    }

    /// The object by key.
    pub fn get_key(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.get(&key.namespace, &key.name)
    }

    /// Adds or replaces; returns what was there.
    pub fn insert(&mut self, key: &ObjectKey, object: Arc<T>) -> Option<Arc<T>> {
        let shard = Arc::make_mut(&mut self.shards)
            .entry(key.namespace.clone())
            .or_default();
        Arc::make_mut(shard).insert(key.name.clone(), object)
    }

    /// Removes; returns what was there.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        self.get_key(key)?;
        let shards = Arc::make_mut(&mut self.shards);
        let shard = Arc::make_mut(shards.get_mut(&key.namespace)?);
        let gone = shard.remove(&key.name);
        if shard.is_empty() {
            shards.remove(&key.namespace);
        }
        gone
    }

    /// Objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.shards
            .get(namespace)
            .into_iter()
            .flat_map(|shard| shard.values())
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.shards.values().flat_map(|shard| shard.values())
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        self.shards.iter().flat_map(|(namespace, shard)| {
            shard
                .keys()
                .map(|name| ObjectKey::new(namespace.clone(), name.clone()))
        })
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.shards.values().map(|shard| shard.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut table = Table::default();
        let key = ObjectKey::new("a", "x");
        table.insert(&key, Arc::new(1));
        let before = table.clone();
        table.insert(&key, Arc::new(2));
        table.insert(&ObjectKey::new("b", "y"), Arc::new(3));
        assert_eq!((before.len(), **before.get("a", "x").unwrap()), (1, 1));
        assert_eq!((table.len(), **table.get("a", "x").unwrap()), (2, 2));
        assert_eq!(table.remove(&key).map(|v| *v), Some(2));
        assert_eq!(table.remove(&key), None);
        assert_eq!(
            table.keys().map(|k| k.to_string()).collect::<Vec<_>>(),
            ["b/y"]
        );
    }
}
