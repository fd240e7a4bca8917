//! Composition root: settings -> parts -> addresses bound -> run. No decisions.
