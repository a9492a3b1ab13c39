//! Real control plane, fake kubelets, builders for tests.
