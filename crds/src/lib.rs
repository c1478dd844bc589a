//! FaustApp.
