"""The LightningModule and its optimizer step."""
