//! A map of few entries: a sorted list, whose code is a small part of a tree's.

/// From keys to values.
#[derive(Debug)]
pub(crate) struct Map<K, V>(Vec<(K, V)>);

impl<K: Ord + Copy, V> Map<K, V> {
    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).ok().map(|index| &self.0[index].1)
    }

    /// The value of a key.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|index| &mut self.0[index].1)
    }

    /// Of the keys up to this one, the last, and its value.
    pub(crate) fn last_up_to(&self, key: &K) -> Option<(K, &V)> {
        let (before, at) = (self.find(key).unwrap_or_else(|index| index.wrapping_sub(1)), &self.0);
        at.get(before).map(|(key, value)| (*key, value))
    }

    /// Adds a value, or replaces the one that its key has.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (key, value)),
        }
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.find(key).ok().map(|index| self.0.remove(index).1)
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::Map;

    #[test]
    fn keys_are_found_in_any_order() {
        let mut map = Map::default();
        for key in [5, 1, 9, 3, 5] {
            map.insert(key, 10 * key);
        }
        assert_eq!((map.get(&5), map.get(&4)), (Some(&50), None));
        assert_eq!(map.get_mut(&9), Some(&mut 90));
        assert_eq!([0, 1, 2, 4, 99].map(|key| map.last_up_to(&key).map(|(key, _)| key)), [None, Some(1), Some(1), Some(3), Some(9)]);
        assert_eq!((map.remove(&3), map.remove(&3), map.last_up_to(&4)), (Some(30), None, Some((1, &10))));
    }
}
