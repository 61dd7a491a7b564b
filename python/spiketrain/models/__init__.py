"""Networks: the notation of the papers (`notation`), the layers (`layers`), the spiking network built of them (`network`), the one
with feedback (`feedback`), and how many synapses they have (`synapses`)."""
