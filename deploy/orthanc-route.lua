-- Orthanc sends each new radiograph to the node; what comes back from the node is not sent again.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if (tags["Modality"] == "DX" or tags["Modality"] == "CR") and tags["Manufacturer"] ~= "carpal" then
    SendToModality(instanceId, "carpal")
  end
end
