//! What a node of any driver can be told.

/// Implements the functions that are named, for a builder that keeps what any
/// node can be told as `options`.
macro_rules! node_options {
    (options) => {
        /// Sets what any node can be told.
        pub fn options(mut self, options: block_gs::NodeOptions) -> Self {
            self.options = options;
            self
        }
    };
    (options, read_only) => {
        $crate::options::node_options!(options);

        /// Opens the node for reading only.
        pub fn read_only(mut self, read_only: bool) -> Self {
            self.options.read_only = read_only;
            self
        }
    };
}

pub(crate) use node_options;
