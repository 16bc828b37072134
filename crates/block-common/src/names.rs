//! What a node may be called.

use crate::GraphError;

/// The longest node name, in bytes.
pub const MAX_NODE_NAME: usize = 31;

/// Whether `name` has the form of an identifier: a letter, then letters,
/// digits, `-`, `.` and `_` (`id_wellformed`).
pub fn is_well_formed(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// Checks the syntax of a name that a user gives to a node.
///
/// That the name is free is for the graph to say; names that begin with `#`
/// are reserved for nodes that the block layer names itself.
///
/// # Errors
/// [`GraphError::InvalidNodeName`] or [`GraphError::NodeNameTooLong`].
pub fn check_node_name(name: &str) -> Result<(), GraphError> {
    if !is_well_formed(name) {
        return Err(GraphError::InvalidNodeName(name.into()));
    }
    if name.len() > MAX_NODE_NAME {
        return Err(GraphError::NodeNameTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_start_with_a_letter() {
        for good in ["a", "disk0", "a-b.c_d", "Z9"] {
            assert!(check_node_name(good).is_ok(), "{good}");
        }
        for bad in ["", "0id", "_id", "-id", ".id", "#block1", "a b", "ä", "a/b"] {
            assert_eq!(
                check_node_name(bad).unwrap_err().to_string(),
                format!("Invalid node-name: '{bad}'")
            );
        }
    }

    #[test]
    fn thirty_one_bytes_fit() {
        assert!(check_node_name(&"a".repeat(31)).is_ok());
        assert_eq!(
            check_node_name(&"a".repeat(32)).unwrap_err().to_string(),
            "Node name too long"
        );
    }
}
