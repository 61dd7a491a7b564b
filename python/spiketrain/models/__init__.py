"""Networks: the notation of the papers (`notation`), the layers (`layers`) and the spiking network built of them (`network`)."""
