"""Tables, reports and plots for readers: of ops and training steps (`report`, `plots`), of other libraries (`peer_report`)."""
