//! Manifests, grants, components and their calls.
