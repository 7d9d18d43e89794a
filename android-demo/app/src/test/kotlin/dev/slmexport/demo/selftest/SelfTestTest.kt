package dev.slmexport.demo.selftest

import dev.slmexport.demo.PLENTY
import dev.slmexport.demo.artifact
import dev.slmexport.demo.copied
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.runtime.FreeMemory
import dev.slmexport.demo.testBundle
import dev.slmexport.demo.testBundles
import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test

/** Real inference by the app's own code, on bundles that slm-export made. */
class SelfTestTest {
    @Test fun everyArtifactAnswersAsWhereItWasMade() {
        val verdicts = testBundles().map { SelfTest(it, PLENTY).run() }
        keep(report("of the tests", Device("none", "a JVM", "none", 0, System.getProperty("os.arch")), verdicts))
        for (verdict in verdicts) {
            assertEquals(emptyList<String>(), verdict.tokenizer)
            for (artifact in verdict.artifacts) {
                val why = "${verdict.bundle.name} ${artifact.artifact}: ${artifact.failures}"
                val skipped = artifact.artifact.path.endsWith(".litertlm")
                assertEquals(why, if (skipped) Outcome.SKIPPED else Outcome.PASS, artifact.outcome)
                if (!skipped) assertEquals(why, verdict.bundle.golden.samples.size, artifact.agreeing)
            }
            assertTrue(verdict.passed)
        }
    }

    /** For slm-export to read, which must come to the same verdicts. */
    private fun keep(report: JSONObject) {
        val folder = System.getProperty("slm.screenshots") ?: return
        File(folder).mkdirs()
        File(folder, "report.json").writeText(report.toString(1))
    }

    @Test fun otherNumbersThanRecordedFail() = fails("The cosine to the recorded outputs is") { golden ->
        val outputs = golden.getJSONObject("artifacts").getJSONObject("onnx/model.onnx").getJSONArray("outputs")
        val row = outputs.getJSONArray(0).getJSONArray(0)
        (0 until row.length()).forEach { row.put(it, -row.getDouble(it)) }
    }

    @Test fun anotherAnswerThanRecordedFails() = fails("The answer differs for") { golden ->
        golden.getJSONArray("samples").getJSONObject(0).put("answer", "none of the labels")
    }

    @Test fun fewerRowsThanRecordedFail() = fails("The outputs are 1 rows of") { golden ->
        val outputs = golden.getJSONObject("artifacts").getJSONObject("onnx/model.onnx").getJSONArray("outputs")
        outputs.put(0, JSONArray().put(outputs.getJSONArray(0).getJSONArray(0)).put(outputs.getJSONArray(0).getJSONArray(0)))
    }

    @Test fun otherTokensThanRecordedAreTold() {
        val bundle = changed { golden -> golden.getJSONArray("samples").getJSONObject(0).getJSONArray("input_ids").put(1, 3) }
        val verdict = SelfTest(bundle, PLENTY).run()
        assertTrue(verdict.tokenizer.single().startsWith("The tokenizer gives other ids for \""))
        assertFalse(verdict.passed)
        assertEquals("fail", verdict.json().getString("verdict"))
    }

    @Test fun aChangedFileIsNotEvenOpened() {
        val bundle = testBundle("text-classification").copied()
        val artifact = bundle.artifact("onnx")
        bundle.file(artifact.path).appendBytes(byteArrayOf(0))
        val verdict = SelfTest(bundle, PLENTY).check(artifact)
        assertEquals(Outcome.FAIL to 0, verdict.outcome to verdict.cases)
        assertEquals(listOf("onnx/model.onnx is not the file that the manifest lists."), verdict.failures)
    }

    @Test fun aBrokenFileIsToldInTheRuntimesWords() {
        val bundle = testBundle("text-classification").copied()
        val artifact = bundle.artifact("onnx")
        val file = bundle.file(artifact.path)
        file.writeBytes(file.readBytes().copyOf(1000))
        val manifest = JSONObject(bundle.manifestFile.readText())
        val record = manifest.getJSONArray("artifacts").let { list ->
            (0 until list.length()).map(list::getJSONObject).first { it.getString("format") == "onnx" }.getJSONArray("files").getJSONObject(0)
        }
        record.put("sha256", sha256(file))
        bundle.manifestFile.writeText(manifest.toString())
        val verdict = Bundle(bundle.folder).let { SelfTest(it, PLENTY).check(it.artifact("onnx")) }
        assertEquals(Outcome.FAIL, verdict.outcome)
        assertTrue(verdict.failures.toString(), "protobuf" in verdict.failures.single().lowercase())
    }

    @Test fun withoutMemoryNothingIsOpened() {
        val bundle = testBundle("text-classification")
        val verdict = SelfTest(bundle, FreeMemory { 1_000_000 }).check(bundle.artifact("onnx"))
        assertEquals(Outcome.FAIL, verdict.outcome)
        assertTrue(verdict.failures.toString(), verdict.failures.single().endsWith("this device has 1 MB free. Close other apps and try again."))
    }

    private fun fails(why: String, change: (JSONObject) -> Unit) {
        val bundle = changed(change)
        val verdict = SelfTest(bundle, PLENTY).check(bundle.artifact("onnx"))
        assertEquals(Outcome.FAIL, verdict.outcome)
        assertTrue(verdict.failures.toString(), verdict.failures.any { it.startsWith(why) })
    }

    private fun changed(change: (JSONObject) -> Unit): Bundle {
        val bundle = testBundle("text-classification").copied()
        val file = File(bundle.folder, "golden.json")
        file.writeText(JSONObject(file.readText()).also(change).toString())
        return bundle
    }
}
