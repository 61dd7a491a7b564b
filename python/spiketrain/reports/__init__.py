"""What a run shows: rows and progress on the terminal (`console`), `tables`, firing rates (`rates`), pictures (`plots`)."""
